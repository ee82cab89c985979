import de.bwaldvogel.mongo.MongoBackend;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.exception.MongoServerException;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.Function;
import org.h2.mvstore.MVStore;

/** mongo-java-server, with the commands that current drivers require: {@code MongoStandIn HOST PORT memory|FILE}. */
public final class MongoStandIn {
    /** Commands that do not write. All others run one at a time, and are flushed before their response. */
    private static final Set<String> READS = Set.of(
            "hello", "ismaster", "ping", "buildinfo", "aggregate", "find", "getmore", "count", "distinct",
            "listcollections", "listdatabases", "listindexes", "serverstatus", "endsessions", "killcursors", "dbstats",
            "collstats", "getparameter", "getlog", "whatsmyuri");

    /** Stores data in a file. A kill loses no write: data is passed to the operating system before the response. */
    private static final class File extends H2Backend {
        File(String path) {
            // Background commits are disabled: they only queue the write, and commit() then finds no changes and
            // returns before the data is written.
            super(new MVStore.Builder().fileName(path).cacheSize(96).autoCommitDisabled().open());
            // Each write command creates a version. Without these limits, the file grows by megabytes per second.
            getMvStore().setRetentionTime(1_000);
            getMvStore().setVersionsToKeep(0);
        }

        @Override
        public Document handleMessage(MongoMessage message) {
            Document response = respond(message, super::handleMessage);
            if (isWrite(message)) {
                commit();
            }
            return response;
        }
    }

    private static final class Memory extends MemoryBackend {
        @Override
        public Document handleMessage(MongoMessage message) {
            return respond(message, super::handleMessage);
        }
    }

    private static String command(MongoMessage message) {
        return message.getDocument().keySet().iterator().next();
    }

    private static boolean isWrite(MongoMessage message) {
        return !READS.contains(command(message).toLowerCase(Locale.ROOT));
    }

    /**
     * The library's response to one write at a time. It creates collections without a lock: of two first commands for
     * a collection, such as an insert and createIndexes, the later one would replace the collection of the other, with
     * the documents that it has acknowledged.
     */
    private static Document respond(MongoMessage message, Function<MongoMessage, Document> library) {
        if (!isWrite(message)) {
            return corrected(message, library);
        }
        synchronized (READS) {
            return corrected(message, library);
        }
    }

    /** The library's response, corrected where mongod responds differently. */
    private static Document corrected(MongoMessage message, Function<MongoMessage, Document> library) {
        return switch (command(message)) {
            case "hello" -> hello(message, library);
            case "insert" -> insert(message.getDocument(), library.apply(message));
            case "drop" -> drop(message, library);
            default -> library.apply(message);
        };
    }

    /** The library only supports the predecessor of this command, isMaster, whose response differs in one field. */
    private static Document hello(MongoMessage message, Function<MongoMessage, Document> library) {
        Document isMaster = new Document("isMaster", 1);
        isMaster.putAll(message.getDocument());
        isMaster.remove("hello");
        Document response = library.apply(new MongoMessage(message.getChannel(), message.getHeader(), isMaster));
        response.put("isWritablePrimary", response.remove("ismaster"));
        return response;
    }

    /** The library counts rejected documents as inserted. */
    private static Document insert(Document command, Document response) {
        if (response.get("writeErrors") instanceof List<?> errors && !errors.isEmpty()) {
            int sent = ((Number) response.get("n")).intValue();
            int first = ((Number) ((Document) errors.get(0)).get("index")).intValue();
            boolean ordered = !Boolean.FALSE.equals(command.get("ordered"));
            response.put("n", ordered ? first : sent - errors.size());
        }
        return response;
    }

    /** Drivers ignore this error by its code, which the library omits. */
    private static Document drop(MongoMessage message, Function<MongoMessage, Document> library) {
        try {
            return library.apply(message);
        } catch (MongoServerException error) {
            if (!"ns not found".equals(error.getMessage())) {
                throw error;
            }
            Document missing = new Document("ok", 0.0);
            missing.put("errmsg", error.getMessage());
            missing.put("code", 26);
            missing.put("codeName", "NamespaceNotFound");
            return missing;
        }
    }

    /** MongoDB 5.0 with its wire version. The library's constant has wire version 8, which current drivers reject. */
    private static final class Version implements MongoVersion {
        @Override
        public List<Integer> getVersionArray() {
            return List.of(5, 0, 0);
        }

        @Override
        public int getWireVersion() {
            return 13;
        }
    }

    public static void main(String[] args) throws Exception {
        MongoBackend backend = args[2].equals("memory") ? new Memory() : new File(args[2]);
        backend.version(new Version());
        MongoServer server = new MongoServer(backend);
        server.bind(args[0], Integer.parseInt(args[1]));
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
        System.out.println("Waiting for connections on " + server.getLocalAddress());
        Thread.currentThread().join();
    }
}
