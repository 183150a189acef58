package rtexp.peers;

import java.nio.charset.StandardCharsets;

/** Names of cells, and the message that says what a cell holds. Names of experiments, groups and events are ASCII. */
public final class Cell {
    private static final char SEPARATOR = '|';

    private Cell() {}

    /** Join an experiment and a group, or both and an event, into one name. */
    public static String name(String left, String right) {
        return left + SEPARATOR + right;
    }

    /** Return the message's key. */
    public static String key(String name, long bucketStartMs) {
        return name + SEPARATOR + bucketStartMs;
    }

    /** Return the message's value; {@code name} is experiment, group and event, the numbers are totals so far. */
    public static byte[] message(String name, long bucketStartMs, long volume, long actors) {
        int first = name.indexOf(SEPARATOR);
        int second = name.indexOf(SEPARATOR, first + 1);
        return new StringBuilder(160)
            .append("{\"experiment\":\"").append(name, 0, first)
            .append("\",\"group\":\"").append(name, first + 1, second)
            .append("\",\"event\":\"").append(name, second + 1, name.length())
            .append("\",\"bucket_start_ms\":").append(bucketStartMs)
            .append(",\"volume\":").append(volume)
            .append(",\"actors\":").append(actors)
            .append('}').toString().getBytes(StandardCharsets.ISO_8859_1);
    }
}
