package rtexp.peers.flink;

import java.nio.charset.StandardCharsets;
import java.util.Properties;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple4;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import rtexp.peers.Cell;
import rtexp.peers.Job;

/**
 * Flink in one process, exactly once: {@code -Dform=published} or {@code bundled}, {@code -Dbackend=rocksdb} or
 * {@code hashmap}.
 */
public final class FlinkJob {
    private FlinkJob() {}

    static Configuration config() {
        String backend = Job.setting("backend");
        String directory = Job.setting("directory");
        Configuration config = new Configuration();
        config.setString("state.backend.type", backend);
        config.set(CheckpointingOptions.INCREMENTAL_CHECKPOINTS, backend.equals("rocksdb"));
        config.setString("state.backend.rocksdb.localdir", directory + "/rocksdb");
        config.setString("execution.checkpointing.dir", "file://" + directory + "/checkpoints");
        config.setString("execution.checkpointing.interval", Job.COMMIT_MS + "ms");
        config.setString("execution.checkpointing.mode", "EXACTLY_ONCE");
        // A run that fails is to end, not to begin again.
        config.setString("restart-strategy.type", "none");
        config.setString("taskmanager.memory.managed.size", "1gb");
        config.setString("taskmanager.memory.network.min", "128mb");
        config.setString("taskmanager.memory.network.max", "128mb");
        config.setString("taskmanager.numberOfTaskSlots", "1");
        config.setString("io.tmp.dirs", directory + "/scratch");
        // Rows aren't copied from step to step, and none is left to a slow general serializer.
        config.setString("pipeline.object-reuse", "true");
        config.setString("pipeline.generic-types", "false");
        return config;
    }

    static KafkaSink<Tuple4<String, Long, Long, Long>> sink() {
        Properties producer = new Properties();
        producer.put(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG, "600000");
        producer.put(ProducerConfig.LINGER_MS_CONFIG, "50");
        return KafkaSink.<Tuple4<String, Long, Long, Long>>builder()
            .setBootstrapServers(Job.setting("broker"))
            .setRecordSerializer(new Message(Job.setting("resultsTopic")))
            .setKafkaProducerConfig(producer)
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix(Job.setting("resultsTopic"))
            .build();
    }

    private static final class Message implements KafkaRecordSerializationSchema<Tuple4<String, Long, Long, Long>> {
        private static final long serialVersionUID = 1;
        private final String topic;

        Message(String topic) {
            this.topic = topic;
        }

        @Override
        public ProducerRecord<byte[], byte[]> serialize(
                Tuple4<String, Long, Long, Long> cell, KafkaSinkContext context, Long timestamp) {
            byte[] key = Cell.key(cell.f0, cell.f1).getBytes(StandardCharsets.ISO_8859_1);
            return new ProducerRecord<>(topic, key, Cell.message(cell.f0, cell.f1, cell.f2, cell.f3));
        }
    }

    public static void main(String[] arguments) throws Exception {
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(1, config());
        var activations = Sources.activations(environment);
        var actions = Sources.actions(environment);
        String form = Job.setting("form");
        DataStream<Tuple4<String, Long, Integer, Integer>> deltas = switch (form) {
            case "published" -> Published.deltas(activations, actions);
            case "bundled" -> Bundled.deltas(activations, actions);
            default -> throw new IllegalArgumentException("-Dform=" + form);
        };
        deltas.keyBy(delta -> delta.f0, Types.STRING).process(new Cells()).returns(Rows.CELL).sinkTo(sink());
        environment.execute(form);
    }
}
