package rtexp.peers.streams;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import rtexp.peers.Cell;
import rtexp.peers.Job;
import rtexp.peers.Meter;
import rtexp.peers.RawMessage;
import rtexp.peers.UserState;

/** Keeps users' triggers; sends on each pair of an action and a trigger: cell, bucket, whether it is the first. */
final class Users implements Processor<String, byte[], String, byte[]> {
    private final RawMessage message = new RawMessage();
    private ProcessorContext<String, byte[]> context;
    private KeyValueStore<String, byte[]> users;

    @Override
    public void init(ProcessorContext<String, byte[]> context) {
        this.context = context;
        users = context.getStateStore(StreamsJob.USERS);
    }

    @Override
    public void process(Record<String, byte[]> raw) {
        if (raw.value() == null) {
            return; // a watermark, which is for rtexp
        }
        try {
            message.parse(raw.value());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        byte[] state = users.get(message.user);
        if (message.isActivation()) {
            String trigger = Cell.name(message.experiment, message.group);
            users.put(message.user, UserState.activate(state, trigger, message.atMs));
            Meter.activation();
            return;
        }
        Meter.action();
        if (state != null && UserState.act(state, message.event, message.atMs, this::forward)) {
            users.put(message.user, state);
        }
    }

    private void forward(String trigger, boolean first) {
        byte[] pair = new byte[9];
        ByteBuffer.wrap(pair).putLong(Job.bucketStartMs(message.atMs)).put((byte) (first ? 1 : 0));
        context.forward(new Record<>(Cell.name(trigger, message.event), pair, message.atMs));
    }
}
