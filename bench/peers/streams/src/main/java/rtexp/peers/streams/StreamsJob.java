package rtexp.peers.streams;

import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.state.Stores;
import rtexp.peers.Job;

/**
 * Kafka Streams, exactly once: a store of users, each pair through a repartition topic to the owner of its cell, a
 * store of cells. Both stores are RocksDB with a changelog in Kafka.
 */
public final class StreamsJob {
    static final String USERS = "users";
    static final String CELLS = "cells";
    private static final int PARTITIONS = 8;
    private static final long CACHE_BYTES = 64L << 20;
    private static final Serde<String> NAMES = Serdes.String();
    private static final Serde<byte[]> BYTES = Serdes.ByteArray();

    private StreamsJob() {}

    static Topology topology() {
        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(USERS), NAMES, BYTES));
        // Cached: cells are few and change all the time. Users are many, where a cache only costs.
        builder.addStateStore(
            Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(CELLS), NAMES, BYTES).withCachingEnabled());
        List<String> topics = List.of(Job.setting("activationsTopic"), Job.setting("actionsTopic"));
        builder.stream(topics, Consumed.with(NAMES, BYTES))
            .process(Users::new, USERS)
            .repartition(Repartitioned.with(NAMES, BYTES).withNumberOfPartitions(PARTITIONS).withName("pairs"))
            .process(Cells::new, CELLS)
            .to(Job.setting("resultsTopic"), Produced.with(NAMES, BYTES));
        return builder.build();
    }

    static Properties config() {
        Properties config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, Job.setting("resultsTopic"));
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, Job.setting("broker"));
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        // Its own default, 100 ms, costs more.
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, Job.COMMIT_MS);
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        config.put(StreamsConfig.STATE_DIR_CONFIG, Job.setting("directory"));
        config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, CACHE_BYTES);
        // A task needn't wait for both of its topics: GatedClients puts one before the other.
        config.put(StreamsConfig.MAX_TASK_IDLE_MS_CONFIG, StreamsConfig.MAX_TASK_IDLE_MS_DISABLED);
        config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        config.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 100);
        config.put(StreamsConfig.producerPrefix(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG), 60_000);
        return config;
    }

    public static void main(String[] arguments) {
        new KafkaStreams(topology(), config(), new GatedClients(Job.setting("actionsTopic"))).start();
    }
}
