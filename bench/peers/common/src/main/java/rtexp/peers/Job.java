package rtexp.peers;

/** What all jobs agree on, and what each is told on its command line as {@code -Dname=value}. */
public final class Job {
    public static final long PERIOD_MS = 72 * 3_600_000L;
    public static final long BUCKET_MS = 900_000L;
    /** How often Flink takes a checkpoint, and Kafka Streams commits. */
    public static final int COMMIT_MS = 10_000;
    /** How often changed cells go out. */
    public static final int EMIT_MS = 1000;

    private Job() {}

    public static String setting(String name) {
        String value = System.getProperty(name);
        if (value == null) {
            throw new IllegalArgumentException("missing: -D" + name + "=...");
        }
        return value;
    }

    public static long number(String name) {
        return Long.parseLong(setting(name));
    }

    public static long bucketStartMs(long atMs) {
        return atMs - atMs % BUCKET_MS;
    }
}
