import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.exception.MongoServerError;
import io.netty.channel.Channel;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;

/** A command of a client, with the name as the client has spelled it. */
record Call(Channel channel, String database, String name, Document body) {
    /** The library, which runs a command. */
    interface Library extends Function<Call, Document> {}

    /** Write commands, which accept a write concern. */
    private static final Set<String> WRITES = Set.of(
            "insert", "update", "delete", "findAndModify", "create", "collMod", "createIndexes", "dropIndexes", "drop",
            "dropDatabase", "renameCollection");

    /** Names of the error codes that are returned here, or that tests inject. Other codes are a Location. */
    private static final Map<Integer, String> CODE_NAMES = Map.ofEntries(
            Map.entry(2, "BadValue"), Map.entry(6, "HostUnreachable"), Map.entry(8, "UnknownError"),
            Map.entry(9, "FailedToParse"), Map.entry(13, "Unauthorized"), Map.entry(16, "InvalidLength"),
            Map.entry(18, "AuthenticationFailed"), Map.entry(20, "IllegalOperation"),
            Map.entry(26, "NamespaceNotFound"), Map.entry(43, "CursorNotFound"), Map.entry(50, "MaxTimeMSExpired"),
            Map.entry(64, "WriteConcernFailed"), Map.entry(72, "InvalidOptions"),
            Map.entry(85, "IndexOptionsConflict"), Map.entry(86, "IndexKeySpecsConflict"),
            Map.entry(89, "NetworkTimeout"), Map.entry(91, "ShutdownInProgress"),
            Map.entry(100, "UnsatisfiableWriteConcern"), Map.entry(112, "WriteConflict"),
            Map.entry(121, "DocumentValidationFailure"), Map.entry(133, "FailedToSatisfyReadPreference"),
            Map.entry(134, "ReadConcernMajorityNotAvailableYet"), Map.entry(166, "CommandNotSupportedOnView"),
            Map.entry(189, "PrimarySteppedDown"), Map.entry(197, "InvalidIndexSpecificationOption"),
            Map.entry(238, "NotImplemented"), Map.entry(262, "ExceededTimeLimit"),
            Map.entry(266, "FailPointSetFailed"),
            Map.entry(9001, "SocketException"), Map.entry(10107, "NotWritablePrimary"),
            Map.entry(11000, "DuplicateKey"), Map.entry(11600, "InterruptedAtShutdown"),
            Map.entry(11602, "InterruptedDueToReplStateChange"), Map.entry(13435, "NotPrimaryNoSecondaryOk"),
            Map.entry(13436, "NotPrimaryOrSecondary"), Map.entry(14031, "OutOfDiskSpace"));

    static String codeName(int code) {
        return CODE_NAMES.getOrDefault(code, "Location" + code);
    }

    static MongoServerError error(int code, String message) {
        return new MongoServerError(code, codeName(code), message);
    }

    static Document ok() {
        return new Document("ok", 1.0);
    }

    boolean is(String command) {
        return name.equalsIgnoreCase(command);
    }

    boolean acceptsWriteConcern() {
        return WRITES.contains(name);
    }

    /** The collection that the command names, or an empty text. */
    String collection() {
        Object collection = body.get(is("getMore") ? "collection" : name);
        return collection instanceof String text ? text : "";
    }

    String namespace() {
        return database + "." + collection();
    }

    /** The member, which is a document; empty if it is missing. */
    Document document(String member) {
        return body.get(member) instanceof Document document ? document : new Document();
    }

    /** The member, which is a list of documents; empty if it is missing. */
    @SuppressWarnings("unchecked")
    List<Document> documents(String member) {
        return body.get(member) instanceof List<?> list ? (List<Document>) list : List.of();
    }

    /** The time limit of the command in milliseconds; 0 if there is none. */
    long maxTimeMs() {
        return body.get("maxTimeMS") instanceof Number limit ? limit.longValue() : 0;
    }

    Call with(String newName, Document newBody) {
        return new Call(channel, database, newName, newBody);
    }
}
