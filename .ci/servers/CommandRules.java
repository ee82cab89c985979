import de.bwaldvogel.mongo.bson.Document;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Rejects commands that MongoDB 5.0 rejects before it runs them, with its codes and messages. The library accepts them.
 *
 * The fields are those of MongoDB's IDL files: write_ops.idl, find_command.idl, aggregate_command.idl, count_command.idl,
 * create.idl, create_indexes.idl, list_collections.idl, and generic_argument.idl for the arguments of all commands.
 */
final class CommandRules {
    private static final int MAX_BATCH = 100_000;

    private static final Set<String> GENERIC = Set.of(
            "apiVersion", "apiStrict", "apiDeprecationErrors", "$db", "maxTimeMS", "readConcern", "writeConcern", "lsid",
            "clientOperationKey", "txnNumber", "autocommit", "startTransaction", "comment", "$readPreference",
            "$clusterTime", "$audit", "$client", "$configServerState", "allowImplicitCollectionCreation",
            "$oplogQueryData", "$queryOptions", "$replData", "databaseVersion", "shardVersion", "tracking_info",
            "coordinator", "maxTimeMSOpOnly", "$configTime", "$topologyTime", "txnRetryCounter");

    private static final List<String> WRITE = List.of("bypassDocumentValidation", "ordered", "stmtId", "stmtIds");

    private static final Map<String, Set<String>> FIELDS = Map.ofEntries(
            Map.entry("insert", with(WRITE, "documents")),
            Map.entry("update", with(WRITE, "updates", "let", "runtimeConstants")),
            Map.entry("delete", with(WRITE, "deletes", "let", "runtimeConstants")),
            Map.entry("findAndModify", with(WRITE, "query", "fields", "sort", "hint", "collation", "arrayFilters",
                    "remove", "update", "upsert", "new", "let", "runtimeConstants")),
            Map.entry("find", with(List.of("filter", "projection", "sort", "hint", "collation", "skip", "limit",
                    "batchSize", "ntoreturn", "singleBatch", "allowDiskUse", "min", "max", "returnKey", "showRecordId",
                    "tailable", "oplogReplay", "noCursorTimeout", "awaitData", "allowPartialResults", "let", "options",
                    "term", "readOnce", "allowSpeculativeMajorityRead", "$_requestResumeToken", "$_resumeAfter",
                    "runtimeConstants"))),
            Map.entry("getMore", with(List.of("collection", "batchSize", "term", "lastKnownCommittedOpTime"))),
            Map.entry("aggregate", with(List.of("pipeline", "explain", "allowDiskUse", "cursor",
                    "bypassDocumentValidation", "collation", "hint", "let", "needsMerge", "fromMongos", "exchange",
                    "$_requestReshardingResumeToken", "runtimeConstants", "isMapReduceCommand"))),
            Map.entry("count", with(List.of("query", "limit", "skip", "hint", "collation", "fields"))),
            Map.entry("distinct", with(List.of("key", "query", "collation"))),
            Map.entry("create", with(List.of("capped", "autoIndexId", "idIndex", "size", "max", "storageEngine",
                    "validator", "validationLevel", "validationAction", "indexOptionDefaults", "viewOn", "pipeline",
                    "collation", "recordPreImages", "timeseries", "expireAfterSeconds", "temp", "flags"))),
            Map.entry("collMod", with(List.of("index", "validator", "validationLevel", "validationAction", "viewOn",
                    "pipeline", "recordPreImages", "expireAfterSeconds", "timeseries"))),
            Map.entry("createIndexes", with(List.of("indexes", "ignoreUnknownIndexOptions", "commitQuorum"))),
            Map.entry("dropIndexes", with(List.of("index"))),
            Map.entry("listCollections", with(List.of("nameOnly", "filter", "authorizedCollections", "cursor"))),
            Map.entry("listIndexes", with(List.of("cursor", "includeBuildUUIDs"))),
            Map.entry("killCursors", with(List.of("cursors"))),
            Map.entry("drop", with(List.of())),
            Map.entry("dropDatabase", with(List.of())));

    /** The lists of the write commands, and the fields of their elements; documents have any. */
    private record Batch(String member, Set<String> fields) {}

    private static final Map<String, Batch> BATCHES = Map.of(
            "insert", new Batch("documents", null),
            "update", new Batch("updates", Set.of("q", "u", "c", "arrayFilters", "hint", "multi", "upsert",
                    "upsertSupplied", "collation")),
            "delete", new Batch("deletes", Set.of("q", "limit", "hint", "collation")));

    private static final Set<String> INDEX_FIELDS = Set.of(
            "key", "name", "ns", "v", "unique", "sparse", "background", "hidden", "expireAfterSeconds",
            "partialFilterExpression", "collation", "storageEngine", "weights", "default_language", "language_override",
            "textIndexVersion", "2dsphereIndexVersion", "bits", "min", "max", "bucketSize", "coarsestIndexedLevel",
            "finestIndexedLevel", "wildcardProjection", "dropDups");

    private static final Set<String> READ_CONCERNS =
            Set.of("local", "available", "majority", "linearizable", "snapshot");
    private static final Set<String> READS_WITH_CONCERN = Set.of("find", "aggregate", "count", "distinct");

    private CommandRules() {}

    private static Set<String> with(List<String> fields, String... more) {
        Set<String> all = new HashSet<>(fields);
        all.addAll(List.of(more));
        return all;
    }

    static void check(Call call) {
        checkFields(call);
        checkBatch(call);
        checkIndexes(call);
        checkMaxTime(call);
        checkConcerns(call);
    }

    private static void checkFields(Call call) {
        Set<String> fields = FIELDS.get(call.name());
        if (fields == null) {
            return;
        }
        // 5.0 names the type of this command, not the command.
        String command = call.is("find") ? "FindCommandRequest" : call.name();
        for (String field : call.body().keySet()) {
            if (!field.equals(call.name()) && !fields.contains(field) && !GENERIC.contains(field)) {
                throw unknownField(command + "." + field);
            }
        }
    }

    private static RuntimeException unknownField(String field) {
        return Call.error(40415, "BSON field '" + field + "' is an unknown field.");
    }

    private static void checkBatch(Call call) {
        Batch batch = BATCHES.get(call.name());
        if (batch == null) {
            return;
        }
        String path = call.name() + "." + batch.member();
        if (!call.body().containsKey(batch.member())) {
            throw Call.error(40414, "BSON field '" + path + "' is missing but a required field");
        }
        List<Document> elements = call.documents(batch.member());
        for (Document element : batch.fields() == null ? List.<Document>of() : elements) {
            for (String field : element.keySet()) {
                if (!batch.fields().contains(field)) {
                    throw unknownField(path + "." + field);
                }
            }
        }
        if (elements.isEmpty() || elements.size() > MAX_BATCH) {
            throw Call.error(16, "Write batch sizes must be between 1 and " + MAX_BATCH + ". Got " + elements.size()
                    + " operations.");
        }
    }

    private static void checkIndexes(Call call) {
        if (!call.is("createIndexes")) {
            return;
        }
        List<Document> indexes = call.documents("indexes");
        if (indexes.isEmpty()) {
            throw Call.error(2, "Must specify at least one index to create");
        }
        for (Document index : indexes) {
            for (String field : index.keySet()) {
                if (!INDEX_FIELDS.contains(field)) {
                    throw Call.error(197, "The field '" + field + "' is not valid for an index specification. "
                            + "Specification: " + index);
                }
            }
        }
    }

    private static void checkMaxTime(Call call) {
        Object limit = call.body().get("maxTimeMS");
        if (limit == null) {
            return;
        }
        if (call.is("getMore")) {
            throw Call.error(2, "cannot set maxTimeMS on getMore command for a non-awaitData cursor");
        }
        if (!(limit instanceof Number number)) {
            throw Call.error(2, "maxTimeMS must be a number");
        }
        if (number.longValue() < 0 || number.longValue() > Integer.MAX_VALUE) {
            throw Call.error(2, number.longValue() + " value for maxTimeMS is out of range");
        }
        if (number.doubleValue() != Math.rint(number.doubleValue())) {
            throw Call.error(2, "maxTimeMS has non-integral value");
        }
    }

    private static void checkConcerns(Call call) {
        if (!FIELDS.containsKey(call.name())) {
            return;
        }
        boolean mayWrite = call.acceptsWriteConcern() || call.is("aggregate");
        if (call.body().containsKey("writeConcern") && !mayWrite) {
            throw Call.error(72, "Command does not support writeConcern");
        }
        Object level = call.document("readConcern").get("level");
        if (level == null) {
            return;
        }
        if (!READ_CONCERNS.contains(level)) {
            throw Call.error(2, "Enumeration value '" + level + "' for field 'readConcern.level' is not a valid value.");
        }
        if (!level.equals("local") && !READS_WITH_CONCERN.contains(call.name())) {
            throw Call.error(72, "Command " + call.name() + " does not support { readConcern: { level: \"" + level
                    + "\", provenance: \"clientSupplied\" } } :: caused by :: read concern not supported");
        }
    }
}
