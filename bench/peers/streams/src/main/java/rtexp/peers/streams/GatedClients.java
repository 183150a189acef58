package rtexp.peers.streams;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.streams.KafkaClientSupplier;
import rtexp.peers.Meter;

/** Kafka's own clients, but no action is read before all activations are in the state, of whatever task. */
final class GatedClients implements KafkaClientSupplier {
    private final String actionsTopic;

    GatedClients(String actionsTopic) {
        this.actionsTopic = actionsTopic;
    }

    @Override
    public Admin getAdmin(Map<String, Object> config) {
        return Admin.create(config);
    }

    @Override
    public Producer<byte[], byte[]> getProducer(Map<String, Object> config) {
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }

    @Override
    public Consumer<byte[], byte[]> getConsumer(Map<String, Object> config) {
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer()) {
            private boolean open;

            @Override
            public ConsumerRecords<byte[], byte[]> poll(Duration timeout) {
                if (!open) {
                    // At each poll: Streams pauses what is newly assigned, and resumes it once its state is there.
                    open = Meter.loaded();
                    List<TopicPartition> actions =
                        assignment().stream().filter(one -> one.topic().equals(actionsTopic)).toList();
                    if (open) {
                        resume(actions);
                    } else {
                        pause(actions);
                    }
                }
                return super.poll(timeout);
            }
        };
    }

    @Override
    public Consumer<byte[], byte[]> getRestoreConsumer(Map<String, Object> config) {
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    @Override
    public Consumer<byte[], byte[]> getGlobalConsumer(Map<String, Object> config) {
        return getRestoreConsumer(config);
    }
}
