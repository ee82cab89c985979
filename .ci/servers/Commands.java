import de.bwaldvogel.mongo.MongoBackend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.bson.ObjectId;
import de.bwaldvogel.mongo.exception.MongoServerException;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/** Runs commands by the library, one write at a time, and corrects what mongod does differently. */
final class Commands {
    /** Commands that do not write. All others run one at a time, and are flushed before their response. */
    private static final Set<String> READS = Set.of(
            "hello", "ismaster", "ping", "buildinfo", "aggregate", "find", "getmore", "count", "distinct",
            "listcollections", "listdatabases", "listindexes", "serverstatus", "endsessions", "killcursors", "dbstats",
            "collstats", "getparameter", "getlog", "whatsmyuri");

    private static final ObjectId ELECTION = new ObjectId();

    private final Majority majority;
    private final FailPoints failPoints;
    private final Catalog catalog;
    /** The name of the replica set; empty for a standalone. */
    private final String replicaSet;
    private final Runnable flush;

    Commands(MongoBackend backend, String replicaSet, Runnable flush) {
        this.replicaSet = replicaSet;
        majority = new Majority(backend);
        failPoints = new FailPoints(majority);
        catalog = new Catalog(backend);
        this.flush = flush;
    }

    Document run(Call call, Call.Library library) {
        failPoints.noteApplication(call);
        if (call.is("configureFailPoint")) {
            return failPoints.configure(call);
        }
        CommandRules.check(call);
        long started = System.nanoTime();
        Document failure = failPoints.responseInstead(call);
        if (failure != null) {
            return failure;
        }
        // Since 4.9, the time of a fail point counts.
        checkTime(call, started);
        Document response = READS.contains(call.name().toLowerCase(Locale.ROOT))
                ? read(call, library) : write(call, library);
        checkTime(call, started);
        if (call.acceptsWriteConcern()) {
            Document injected = failPoints.writeConcernError(call);
            response.putIfNotNull("writeConcernError", injected == null ? majority.writeConcernError(call) : injected);
        }
        return response;
    }

    private static void checkTime(Call call, long started) {
        long elapsedMs = (System.nanoTime() - started) / 1_000_000;
        if (call.maxTimeMs() > 0 && elapsedMs > call.maxTimeMs()) {
            throw Call.error(50, "operation exceeded time limit");
        }
    }

    private Document read(Call call, Call.Library library) {
        Document committed = majority.read(call);
        return committed == null ? corrected(catalog.withCollation(catalog.resolveView(call)), library) : committed;
    }

    /**
     * Runs a write. The library creates collections without a lock: of two first commands for a collection, such as an
     * insert and createIndexes, the later one would replace the collection of the other, with the documents that it has
     * acknowledged.
     */
    private synchronized Document write(Call call, Call.Library library) {
        try {
            if (call.is("failOver")) {
                return majority.failOver(call);
            }
            majority.beforeWrite(call);
            Document response = corrected(catalog.withCollation(catalog.resolveView(call)), library);
            catalog.trim(call);
            return response;
        } finally {
            flush.run();
        }
    }

    /** The library's response, corrected where mongod responds differently. */
    private Document corrected(Call call, Call.Library library) {
        return switch (call.name()) {
            case "hello" -> hello(call, library);
            case "isMaster", "ismaster" -> withReplicaSet(call, library.apply(call));
            case "insert" -> insert(call, library);
            case "update", "delete" -> library.apply(withOrder(call));
            case "drop" -> drop(call, library);
            case "dropDatabase" -> dropDatabase(call, library);
            case "create" -> catalog.create(call, library);
            case "collMod" -> catalog.modify(call);
            case "createIndexes" -> catalog.createIndexes(call, library);
            case "listIndexes" -> catalog.listIndexes(call, library);
            case "listCollections" -> catalog.listCollections(call, library);
            default -> library.apply(call);
        };
    }

    /** The library only supports the predecessor of this command, isMaster, whose response differs in one field. */
    private Document hello(Call call, Call.Library library) {
        Document response = library.apply(call.with("isMaster", call.body()));
        response.put("isWritablePrimary", response.remove("ismaster"));
        return withReplicaSet(call, response);
    }

    private Document withReplicaSet(Call call, Document response) {
        if (!replicaSet.isEmpty()) {
            String address = call.channel().localAddress().toString().replaceFirst("^.*/", "");
            response.putAll(new Document("setName", replicaSet).append("setVersion", 1).append("secondary", false)
                    .append("electionId", ELECTION).append("hosts", List.of(address)).append("me", address)
                    .append("primary", address));
        }
        return response;
    }

    /** The default of mongod is an ordered batch, that of the library is none. */
    private static Call withOrder(Call call) {
        Document body = call.body().clone();
        body.putIfAbsent("ordered", true);
        return call.with(call.name(), body);
    }

    /** The library counts rejected documents as inserted. */
    private static Document insert(Call call, Call.Library library) {
        Call ordered = withOrder(call);
        Document response = library.apply(ordered);
        if (response.get("writeErrors") instanceof List<?> errors && !errors.isEmpty()) {
            int sent = ((Number) response.get("n")).intValue();
            int first = ((Number) ((Document) errors.get(0)).get("index")).intValue();
            boolean isOrdered = Boolean.TRUE.equals(ordered.body().get("ordered"));
            response.put("n", isOrdered ? first : sent - errors.size());
        }
        return response;
    }

    /** Drivers ignore this error by its code, which the library omits. */
    private Document drop(Call call, Call.Library library) {
        catalog.forget(call);
        try {
            return library.apply(call);
        } catch (MongoServerException error) {
            throw "ns not found".equals(error.getMessage()) ? Call.error(26, "ns not found") : error;
        }
    }

    private Document dropDatabase(Call call, Call.Library library) {
        catalog.forget(call);
        return library.apply(call);
    }
}
