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

/** mongo-java-server on one address, with what drivers of today need besides: {@code MongoStandIn HOST PORT memory|FILE}. */
public final class MongoStandIn {
    /** Commands that change nothing: all others are flushed before they are answered. */
    private static final Set<String> READS = Set.of(
            "hello", "ismaster", "ping", "buildinfo", "find", "getmore", "count", "distinct", "listcollections",
            "listdatabases", "listindexes", "serverstatus", "endsessions", "killcursors", "dbstats", "collstats",
            "getparameter", "getlog", "whatsmyuri");

    /** In a file. A write is with the operating system before its answer is sent, so that a kill loses none. */
    private static final class File extends H2Backend {
        File(String path) {
            // Without its own commits in the background: those leave the writing to a queue, and commit() then returns
            // at once, because nothing has changed since.
            super(new MVStore.Builder().fileName(path).cacheSize(96).autoCommitDisabled().open());
            // A version for each write command: without this the file grows by megabytes a second.
            getMvStore().setRetentionTime(1_000);
            getMvStore().setVersionsToKeep(0);
        }

        @Override
        public Document handleMessage(MongoMessage message) {
            Document answer = answer(message, super::handleMessage);
            if (!READS.contains(command(message).toLowerCase(Locale.ROOT))) {
                commit();
            }
            return answer;
        }
    }

    private static final class Memory extends MemoryBackend {
        @Override
        public Document handleMessage(MongoMessage message) {
            return answer(message, super::handleMessage);
        }
    }

    private static String command(MongoMessage message) {
        return message.getDocument().keySet().iterator().next();
    }

    /** The library's answer, or that of mongod where the library has another one. */
    private static Document answer(MongoMessage message, Function<MongoMessage, Document> library) {
        return switch (command(message)) {
            case "hello" -> hello(message, library);
            case "insert" -> insert(message.getDocument(), library.apply(message));
            case "drop" -> drop(message, library);
            default -> library.apply(message);
        };
    }

    /** Unknown to the library, which has its predecessor with the same fields but one. */
    private static Document hello(MongoMessage message, Function<MongoMessage, Document> library) {
        Document isMaster = new Document("isMaster", 1);
        isMaster.putAll(message.getDocument());
        isMaster.remove("hello");
        Document answer = library.apply(new MongoMessage(message.getChannel(), message.getHeader(), isMaster));
        answer.put("isWritablePrimary", answer.remove("ismaster"));
        return answer;
    }

    /** The library counts documents that were refused as inserted. */
    private static Document insert(Document command, Document answer) {
        if (answer.get("writeErrors") instanceof List<?> errors && !errors.isEmpty()) {
            int sent = ((Number) answer.get("n")).intValue();
            int first = ((Number) ((Document) errors.get(0)).get("index")).intValue();
            boolean ordered = !Boolean.FALSE.equals(command.get("ordered"));
            answer.put("n", ordered ? first : sent - errors.size());
        }
        return answer;
    }

    /** Drivers know by the code that there was nothing to drop. */
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

    /** MongoDB 5.0, with its wire version. The library's own constant says 8, which drivers refuse since 2025. */
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
