package rtexp.peers;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/**
 * All triggers of one user in one array of bytes: what one would write by hand where a state store keeps bytes.
 *
 * <p>Of each trigger: its time (8 bytes), a bit for each event that the user has done since (4), the length of its
 * name (1), its name (experiment and group). So events must be known beforehand, and be at most 32.
 */
public final class UserState {
    private static final int MASK = 8;
    private static final int LENGTH = 12;
    private static final int NAME = 13;
    private static final Map<String, Integer> BITS = new HashMap<>();

    static {
        for (String event : Job.setting("events").split(",")) {
            BITS.put(event, 1 << BITS.size());
        }
    }

    private UserState() {}

    /** Gets each trigger that an action counts for. */
    public interface Pairs {
        void add(String trigger, boolean first);
    }

    /** Return the state with one more trigger; the same array if the user has it already. Null is no state yet. */
    public static byte[] activate(byte[] state, String trigger, long atMs) {
        byte[] name = trigger.getBytes(StandardCharsets.ISO_8859_1);
        int end = state == null ? 0 : state.length;
        for (int at = 0; at < end; at += NAME + state[at + LENGTH]) {
            int from = at + NAME;
            if (Arrays.equals(state, from, from + state[at + LENGTH], name, 0, name.length)) {
                return state;
            }
        }
        byte[] longer = end == 0 ? new byte[NAME + name.length] : Arrays.copyOf(state, end + NAME + name.length);
        ByteBuffer.wrap(longer).putLong(end, atMs).put(end + LENGTH, (byte) name.length).put(end + NAME, name);
        return longer;
    }

    /** Hand on each trigger that the action follows in time; return whether the state has changed, in place. */
    public static boolean act(byte[] state, String event, long atMs, Pairs pairs) {
        ByteBuffer bytes = ByteBuffer.wrap(state);
        int bit = BITS.get(event);
        boolean changed = false;
        for (int at = 0; at < state.length; at += NAME + state[at + LENGTH]) {
            long triggeredMs = bytes.getLong(at);
            if (triggeredMs > atMs || atMs >= triggeredMs + Job.PERIOD_MS) {
                continue;
            }
            int mask = bytes.getInt(at + MASK);
            boolean first = (mask & bit) == 0;
            if (first) {
                bytes.putInt(at + MASK, mask | bit);
                changed = true;
            }
            pairs.add(new String(state, at + NAME, state[at + LENGTH], StandardCharsets.ISO_8859_1), first);
        }
        return changed;
    }
}
