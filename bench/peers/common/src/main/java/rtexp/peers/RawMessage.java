package rtexp.peers;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import java.io.IOException;

/** A message of either raw topic. Parsed as a stream, without a tree, and used again for the next one. */
public final class RawMessage {
    private static final JsonFactory JSON = new JsonFactory();

    public String user;
    /** Of an action; null in an activation. */
    public String event;
    /** Of an activation; null in an action. */
    public String experiment;
    /** Of an activation; null in an action. */
    public String group;
    public long atMs;

    /** Take over what one JSON object says. */
    public void parse(byte[] json) throws IOException {
        event = null;
        experiment = null;
        group = null;
        try (JsonParser parser = JSON.createParser(json)) {
            parser.nextToken();
            String field;
            while ((field = parser.nextFieldName()) != null) {
                parser.nextToken();
                switch (field) {
                    case "user_id" -> user = parser.getText();
                    case "event" -> event = parser.getText();
                    case "experiment" -> experiment = parser.getText();
                    case "group" -> group = parser.getText();
                    case "ts" -> atMs = parser.getLongValue();
                    default -> parser.skipChildren();
                }
            }
        }
    }

    public boolean isActivation() {
        return event == null;
    }
}
