package rtexp.peers;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Counts what has been done, and tells on standard output how much CPU time this process has used at three moments:
 * at the first action, at half of them, and when the last pair of an action and a trigger has been counted.
 */
public final class Meter {
    private static final OperatingSystemMXBean SYSTEM =
        (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    private static final long ALL_ACTIVATIONS = Job.number("activations");
    private static final long ALL_ACTIONS = Job.number("actions");
    private static final long ALL_PAIRS = Job.number("pairs");
    private static final AtomicLong activations = new AtomicLong();
    private static final AtomicLong actions = new AtomicLong();
    private static final AtomicLong pairs = new AtomicLong();

    private Meter() {}

    /** An activation is in the state. */
    public static void activation() {
        activations.incrementAndGet();
    }

    /** Whether all activations are in the state, so that actions may begin. */
    public static boolean loaded() {
        return activations.get() >= ALL_ACTIVATIONS;
    }

    /** An action has come in. */
    public static void action() {
        long count = actions.incrementAndGet();
        if (count == 1) {
            tell("first");
        } else if (count == ALL_ACTIONS / 2) {
            tell("half");
        }
    }

    /** Pairs have been counted in cells. */
    public static void pairs(long more) {
        long count = pairs.addAndGet(more);
        if (count - more < ALL_PAIRS && count >= ALL_PAIRS) {
            tell("counted");
        }
    }

    private static void tell(String moment) {
        System.out.printf(
            "MEASURED {\"moment\":\"%s\",\"cpu_seconds\":%.3f,\"activations\":%d,\"actions\":%d}%n",
            moment, SYSTEM.getProcessCpuTime() / 1e9, activations.get(), actions.get());
        System.out.flush();
    }
}
