package rtexp.peers.streams;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import rtexp.peers.Cell;
import rtexp.peers.Job;
import rtexp.peers.Meter;

/** Counts pairs by cell: volume and actors, 8 bytes each. What has changed goes out once a second, as totals. */
final class Cells implements Processor<String, byte[], String, byte[]> {
    private final Map<String, Changed> changed = new HashMap<>();
    private ProcessorContext<String, byte[]> context;
    private KeyValueStore<String, byte[]> cells;

    private record Changed(String name, long bucketStartMs, byte[] counts) {}

    @Override
    public void init(ProcessorContext<String, byte[]> context) {
        this.context = context;
        cells = context.getStateStore(StreamsJob.CELLS);
        context.schedule(Duration.ofMillis(Job.EMIT_MS), PunctuationType.WALL_CLOCK_TIME, this::emit);
    }

    @Override
    public void process(Record<String, byte[]> pair) {
        ByteBuffer bytes = ByteBuffer.wrap(pair.value());
        long bucketStartMs = bytes.getLong();
        String key = Cell.key(pair.key(), bucketStartMs);
        byte[] counts = cells.get(key);
        // A copy: the array is the store's own.
        counts = counts == null ? new byte[16] : counts.clone();
        ByteBuffer sums = ByteBuffer.wrap(counts);
        sums.putLong(0, sums.getLong(0) + 1).putLong(8, sums.getLong(8) + bytes.get());
        cells.put(key, counts);
        changed.put(key, new Changed(pair.key(), bucketStartMs, counts));
        Meter.pairs(1);
    }

    private void emit(long nowMs) {
        changed.forEach((key, cell) -> {
            ByteBuffer sums = ByteBuffer.wrap(cell.counts());
            byte[] message = Cell.message(cell.name(), cell.bucketStartMs(), sums.getLong(0), sums.getLong(8));
            context.forward(new Record<>(key, message, nowMs));
        });
        changed.clear();
    }
}
