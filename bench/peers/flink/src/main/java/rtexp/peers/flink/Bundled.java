package rtexp.peers.flink;

import java.util.HashMap;
import java.util.Map;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.api.java.tuple.Tuple4;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.TwoInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import rtexp.peers.Cell;
import rtexp.peers.Job;
import rtexp.peers.Meter;
import rtexp.peers.UserState;

/**
 * The fastest that we could write for Flink by hand: one operator that keeps a user's triggers in one value, and
 * bundles counts in memory, as Flink's SQL does. The bundle is flushed every second and before each checkpoint, so
 * that nothing is lost.
 */
final class Bundled {
    private Bundled() {}

    static DataStream<Tuple4<String, Long, Integer, Integer>> deltas(
            DataStream<Tuple4<String, String, String, Long>> activations,
            DataStream<Tuple3<String, String, Long>> actions) {
        return activations.keyBy(activation -> activation.f0, Types.STRING)
            .connect(actions.keyBy(action -> action.f0, Types.STRING))
            .transform("users", Rows.DELTA, new Users());
    }

    private static final class Users extends AbstractStreamOperator<Tuple4<String, Long, Integer, Integer>>
            implements TwoInputStreamOperator<
                Tuple4<String, String, String, Long>,
                Tuple3<String, String, Long>,
                Tuple4<String, Long, Integer, Integer>> {
        private static final long serialVersionUID = 1;
        private transient ValueState<byte[]> user;
        /** By cell and bucket: volume and actors since the last flush. */
        private transient Map<Tuple2<String, Long>, int[]> bundle;

        @Override
        public void open() throws Exception {
            super.open();
            user = getRuntimeContext().getState(
                new ValueStateDescriptor<>("user", PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO));
            bundle = new HashMap<>();
            getProcessingTimeService().scheduleWithFixedDelay(now -> flush(), Job.EMIT_MS, Job.EMIT_MS);
        }

        @Override
        public void processElement1(StreamRecord<Tuple4<String, String, String, Long>> record) throws Exception {
            var activation = record.getValue();
            String trigger = Cell.name(activation.f1, activation.f2);
            user.update(UserState.activate(user.value(), trigger, activation.f3));
            Meter.activation();
        }

        @Override
        public void processElement2(StreamRecord<Tuple3<String, String, Long>> record) throws Exception {
            var action = record.getValue();
            Meter.action();
            byte[] state = user.value();
            if (state != null && UserState.act(state, action.f1, action.f2, (trigger, first) -> {
                var cell = Tuple2.of(Cell.name(trigger, action.f1), Job.bucketStartMs(action.f2));
                int[] counts = bundle.computeIfAbsent(cell, key -> new int[2]);
                counts[0] += 1;
                counts[1] += first ? 1 : 0;
            })) {
                user.update(state);
            }
        }

        @Override
        public void prepareSnapshotPreBarrier(long checkpoint) {
            flush();
        }

        @Override
        public void finish() {
            flush();
        }

        private void flush() {
            bundle.forEach((cell, counts) ->
                output.collect(new StreamRecord<>(Tuple4.of(cell.f0, cell.f1, counts[0], counts[1]))));
            bundle.clear();
        }
    }
}
