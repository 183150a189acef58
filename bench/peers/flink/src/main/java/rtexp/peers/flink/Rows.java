package rtexp.peers.flink;

import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.api.java.tuple.Tuple4;

/** What travels between the steps; Flink's own serializers for tuples are its fastest. */
final class Rows {
    /** User, event, time. */
    static final TypeInformation<Tuple3<String, String, Long>> ACTION =
        Types.TUPLE(Types.STRING, Types.STRING, Types.LONG);
    /** User, experiment, group, time. */
    static final TypeInformation<Tuple4<String, String, String, Long>> ACTIVATION =
        Types.TUPLE(Types.STRING, Types.STRING, Types.STRING, Types.LONG);
    /** Trigger (experiment and group), event, user, time. */
    static final TypeInformation<Tuple4<String, String, String, Long>> PAIR =
        Types.TUPLE(Types.STRING, Types.STRING, Types.STRING, Types.LONG);
    /** Name of the cell (trigger and event), start of its bucket, and by how much volume and actors grow. */
    static final TypeInformation<Tuple4<String, Long, Integer, Integer>> DELTA =
        Types.TUPLE(Types.STRING, Types.LONG, Types.INT, Types.INT);
    /** Name of the cell, start of its bucket, volume and actors so far. */
    static final TypeInformation<Tuple4<String, Long, Long, Long>> CELL =
        Types.TUPLE(Types.STRING, Types.LONG, Types.LONG, Types.LONG);
    /** A key of three names. */
    static final TypeInformation<Tuple3<String, String, String>> NAMES =
        Types.TUPLE(Types.STRING, Types.STRING, Types.STRING);

    private Rows() {}
}
