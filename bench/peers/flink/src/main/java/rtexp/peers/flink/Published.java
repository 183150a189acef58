package rtexp.peers.flink;

import java.time.Duration;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.StateTtlConfig;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.api.java.tuple.Tuple4;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.co.ProcessJoinFunction;
import org.apache.flink.util.Collector;
import rtexp.peers.Cell;
import rtexp.peers.Job;
import rtexp.peers.Meter;

/**
 * The published design, step by step: repeated actions are dropped, the first activation of a user in a group is the
 * trigger, an interval join pairs it with the actions of the three days after it, and a state for each (experiment,
 * group, event, user) tells which pair is the first.
 */
final class Published {
    private Published() {}

    static DataStream<Tuple4<String, Long, Integer, Integer>> deltas(
            DataStream<Tuple4<String, String, String, Long>> activations,
            DataStream<Tuple3<String, String, Long>> actions) {
        var triggers = activations
            .keyBy(activation -> Tuple3.of(activation.f0, activation.f1, activation.f2), Rows.NAMES)
            .process(new FirstActivation()).returns(Rows.ACTIVATION);
        var distinct = actions.keyBy(action -> action, Rows.ACTION).process(new Distinct()).returns(Rows.ACTION);
        return triggers.keyBy(trigger -> trigger.f0, Types.STRING)
            .intervalJoin(distinct.keyBy(action -> action.f0, Types.STRING))
            .between(Duration.ZERO, Duration.ofMillis(Job.PERIOD_MS - 1))
            .process(new Join(), Rows.PAIR)
            .keyBy(pair -> Tuple3.of(pair.f0, pair.f1, pair.f2), Rows.NAMES)
            .process(new FirstPair()).returns(Rows.DELTA);
    }

    /** Drops an action that repeats another's user, event and time within five minutes. */
    private static final class Distinct
            extends KeyedProcessFunction<
                Tuple3<String, String, Long>, Tuple3<String, String, Long>, Tuple3<String, String, Long>> {
        private static final long serialVersionUID = 1;
        private transient ValueState<Boolean> seen;

        @Override
        public void open(OpenContext context) {
            var description = new ValueStateDescriptor<>("seen", Types.BOOLEAN);
            description.enableTimeToLive(
                StateTtlConfig.newBuilder(Duration.ofMinutes(5)).cleanupInRocksdbCompactFilter(1000).build());
            seen = getRuntimeContext().getState(description);
        }

        @Override
        public void processElement(
                Tuple3<String, String, Long> action, Context context, Collector<Tuple3<String, String, Long>> out)
                throws Exception {
            Meter.action();
            if (seen.value() == null) {
                seen.update(true);
                out.collect(action);
            }
        }
    }

    private static final class FirstActivation
            extends KeyedProcessFunction<
                Tuple3<String, String, String>,
                Tuple4<String, String, String, Long>,
                Tuple4<String, String, String, Long>> {
        private static final long serialVersionUID = 1;
        private transient ValueState<Boolean> triggered;

        @Override
        public void open(OpenContext context) {
            triggered = getRuntimeContext().getState(new ValueStateDescriptor<>("triggered", Types.BOOLEAN));
        }

        @Override
        public void processElement(
                Tuple4<String, String, String, Long> activation,
                Context context,
                Collector<Tuple4<String, String, String, Long>> out)
                throws Exception {
            if (triggered.value() == null) {
                triggered.update(true);
                out.collect(activation);
            }
            Meter.activation();
        }
    }

    private static final class Join
            extends ProcessJoinFunction<
                Tuple4<String, String, String, Long>,
                Tuple3<String, String, Long>,
                Tuple4<String, String, String, Long>> {
        private static final long serialVersionUID = 1;

        @Override
        public void processElement(
                Tuple4<String, String, String, Long> trigger,
                Tuple3<String, String, Long> action,
                Context context,
                Collector<Tuple4<String, String, String, Long>> out) {
            out.collect(Tuple4.of(Cell.name(trigger.f1, trigger.f2), action.f1, action.f0, action.f2));
        }
    }

    private static final class FirstPair
            extends KeyedProcessFunction<
                Tuple3<String, String, String>,
                Tuple4<String, String, String, Long>,
                Tuple4<String, Long, Integer, Integer>> {
        private static final long serialVersionUID = 1;
        private transient ValueState<Boolean> acted;

        @Override
        public void open(OpenContext context) {
            acted = getRuntimeContext().getState(new ValueStateDescriptor<>("acted", Types.BOOLEAN));
        }

        @Override
        public void processElement(
                Tuple4<String, String, String, Long> pair,
                Context context,
                Collector<Tuple4<String, Long, Integer, Integer>> out)
                throws Exception {
            boolean first = acted.value() == null;
            if (first) {
                acted.update(true);
            }
            out.collect(Tuple4.of(Cell.name(pair.f0, pair.f1), Job.bucketStartMs(pair.f3), 1, first ? 1 : 0));
        }
    }
}
