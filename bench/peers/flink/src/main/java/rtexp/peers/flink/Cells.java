package rtexp.peers.flink;

import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple4;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import rtexp.peers.Job;
import rtexp.peers.Meter;

/** Sums volume and actors by cell and bucket. What has changed goes out once a second, as totals. */
final class Cells
        extends KeyedProcessFunction<
            String, Tuple4<String, Long, Integer, Integer>, Tuple4<String, Long, Long, Long>> {
    private static final long serialVersionUID = 1;
    private transient MapState<Long, Tuple2<Long, Long>> buckets;
    private transient Map<String, Set<Long>> changed;

    @Override
    public void open(OpenContext context) {
        buckets = getRuntimeContext().getMapState(
            new MapStateDescriptor<>("buckets", Types.LONG, Types.TUPLE(Types.LONG, Types.LONG)));
        changed = new HashMap<>();
    }

    @Override
    public void processElement(
            Tuple4<String, Long, Integer, Integer> delta,
            Context context,
            Collector<Tuple4<String, Long, Long, Long>> out)
            throws Exception {
        Tuple2<Long, Long> sums = buckets.get(delta.f1);
        if (sums == null) {
            sums = Tuple2.of(0L, 0L);
        }
        sums.f0 += delta.f2;
        sums.f1 += delta.f3;
        buckets.put(delta.f1, sums);
        Set<Long> ofCell = changed.get(delta.f0);
        if (ofCell == null) {
            ofCell = new HashSet<>();
            changed.put(delta.f0, ofCell);
            long nowMs = context.timerService().currentProcessingTime();
            context.timerService().registerProcessingTimeTimer((nowMs / Job.EMIT_MS + 1) * Job.EMIT_MS);
        }
        ofCell.add(delta.f1);
        Meter.pairs(delta.f2);
    }

    @Override
    public void onTimer(long atMs, OnTimerContext context, Collector<Tuple4<String, Long, Long, Long>> out)
            throws Exception {
        String name = context.getCurrentKey();
        Set<Long> ofCell = changed.remove(name);
        if (ofCell == null) { // set before a restart, which forgot what has changed: send all
            ofCell = new HashSet<>();
            for (Long bucketStartMs : buckets.keys()) {
                ofCell.add(bucketStartMs);
            }
        }
        for (Long bucketStartMs : ofCell) {
            Tuple2<Long, Long> sums = buckets.get(bucketStartMs);
            out.collect(Tuple4.of(name, bucketStartMs, sums.f0, sums.f1));
        }
    }
}
