package rtexp.peers.flink;

import java.io.IOException;
import java.time.Duration;
import java.util.Map;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.api.java.tuple.Tuple4;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.KafkaSourceBuilder;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerInterceptor;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import rtexp.peers.Job;
import rtexp.peers.Meter;
import rtexp.peers.RawMessage;

/** The raw topics as streams, with watermarks five minutes behind. */
final class Sources {
    private static final Duration OUT_OF_ORDER = Duration.ofMinutes(5);

    private Sources() {}

    /** Return user, experiment, group, time. */
    static DataStream<Tuple4<String, String, String, Long>> activations(StreamExecutionEnvironment environment) {
        return environment.fromSource(
            topic(Job.setting("activationsTopic"), new Activations()).build(),
            WatermarkStrategy.<Tuple4<String, String, String, Long>>forBoundedOutOfOrderness(OUT_OF_ORDER)
                .withTimestampAssigner((activation, arrived) -> activation.f3)
                // They end before the actions begin: from then on these alone must move the join's time.
                .withIdleness(Duration.ofSeconds(2)),
            "activations");
    }

    /** Return user, event, time; none comes before all activations have been taken over. */
    static DataStream<Tuple3<String, String, Long>> actions(StreamExecutionEnvironment environment) {
        return environment.fromSource(
            topic(Job.setting("actionsTopic"), new Actions())
                .setProperty(ConsumerConfig.INTERCEPTOR_CLASSES_CONFIG, Gate.class.getName()).build(),
            // No idleness: a partition that waits for its turn would let time run past what it still has.
            WatermarkStrategy.<Tuple3<String, String, Long>>forBoundedOutOfOrderness(OUT_OF_ORDER)
                .withTimestampAssigner((action, arrived) -> action.f2),
            "actions");
    }

    private static <T> KafkaSourceBuilder<T> topic(String name, KafkaRecordDeserializationSchema<T> format) {
        return KafkaSource.<T>builder()
            .setBootstrapServers(Job.setting("broker"))
            .setTopics(name)
            .setGroupId(Job.setting("resultsTopic"))
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setProperty(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed")
            .setDeserializer(format);
    }

    private abstract static class Format<T> implements KafkaRecordDeserializationSchema<T> {
        private static final long serialVersionUID = 1;
        private transient RawMessage message;

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> raw, Collector<T> out) throws IOException {
            if (raw.value() == null) {
                return; // a watermark, which is for rtexp
            }
            if (message == null) {
                message = new RawMessage();
            }
            message.parse(raw.value());
            out.collect(row(message));
        }

        abstract T row(RawMessage message);
    }

    private static final class Activations extends Format<Tuple4<String, String, String, Long>> {
        private static final long serialVersionUID = 1;

        @Override
        Tuple4<String, String, String, Long> row(RawMessage message) {
            return Tuple4.of(message.user, message.experiment, message.group, message.atMs);
        }

        @Override
        public TypeInformation<Tuple4<String, String, String, Long>> getProducedType() {
            return Rows.ACTIVATION;
        }
    }

    private static final class Actions extends Format<Tuple3<String, String, Long>> {
        private static final long serialVersionUID = 1;

        @Override
        Tuple3<String, String, Long> row(RawMessage message) {
            return Tuple3.of(message.user, message.event, message.atMs);
        }

        @Override
        public TypeInformation<Tuple3<String, String, Long>> getProducedType() {
            return Rows.ACTION;
        }
    }

    /** Holds the thread that fetches actions, not that of the task: checkpoints go on meanwhile. */
    public static final class Gate implements ConsumerInterceptor<byte[], byte[]> {
        /** For the last activations to get from the step that counts them into the join; no result depends on it. */
        private static final long SETTLE_MS = 1500;
        private static final long POLL_MS = 5;
        private boolean open;

        @Override
        public ConsumerRecords<byte[], byte[]> onConsume(ConsumerRecords<byte[], byte[]> records) {
            try {
                while (!open) {
                    open = Meter.loaded();
                    Thread.sleep(open ? SETTLE_MS : POLL_MS);
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            return records;
        }

        @Override
        public void onCommit(Map<TopicPartition, OffsetAndMetadata> offsets) {}

        @Override
        public void close() {}

        @Override
        public void configure(Map<String, ?> configs) {}
    }
}
