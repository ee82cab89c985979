import de.bwaldvogel.mongo.MongoBackend;
import de.bwaldvogel.mongo.MongoCollection;
import de.bwaldvogel.mongo.backend.DefaultQueryMatcher;
import de.bwaldvogel.mongo.backend.EmptyIndex;
import de.bwaldvogel.mongo.backend.QueryMatcher;
import de.bwaldvogel.mongo.bson.Document;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Options of collections and indexes, which the library ignores or refuses: capped collections, validators, views,
 * collations, and the filter of listCollections. They are in memory: a restart forgets them.
 */
final class Catalog {
    private static final QueryMatcher MATCHER = new DefaultQueryMatcher();
    private static final String VALIDATOR_INDEX = "stand-in validator";
    private static final Set<String> GENERIC = Set.of("$db", "writeConcern", "comment", "maxTimeMS", "lsid",
            "$clusterTime", "$readPreference");

    private final MongoBackend backend;
    /** The options by namespace, as listCollections returns them. */
    private final Map<String, Document> options = new ConcurrentHashMap<>();
    /** The ids of the documents of a capped collection, oldest first. */
    private final Map<String, Set<Object>> insertionOrder = new ConcurrentHashMap<>();

    Catalog(MongoBackend backend) {
        this.backend = backend;
    }

    private Document optionsOf(Call call) {
        return options.getOrDefault(call.namespace(), new Document());
    }

    Document create(Call call, Call.Library library) {
        Document given = call.body().clone();
        given.remove(call.name());
        GENERIC.forEach(given::remove);
        if (Boolean.TRUE.equals(given.get("capped")) && !given.containsKey("size")) {
            throw Call.error(72, "the 'size' field is required when 'capped' is true");
        }
        Document response = library.apply(call.with(call.name(), new Document(call.name(), call.collection())));
        options.remove(call.namespace());
        if (given.containsKey("validator")) {
            given.putIfAbsent("validationLevel", "strict");
            given.putIfAbsent("validationAction", "error");
        }
        putCollation(given, new Document());
        options.put(call.namespace(), given);
        enforceValidator(call);
        return response;
    }

    Document modify(Call call) {
        if (backend.resolveDatabase(call.database()).resolveCollection(call.collection(), false) == null) {
            throw Call.error(26, "ns does not exist");
        }
        Document changed = optionsOf(call).clone();
        for (String option : List.of("validator", "validationLevel", "validationAction")) {
            changed.putIfNotNull(option, call.body().get(option));
        }
        if (call.document("validator").isEmpty() && call.body().containsKey("validator")) {
            changed.remove("validator");
        }
        options.put(call.namespace(), changed);
        enforceValidator(call);
        return Call.ok();
    }

    /** Forgets the options of the collection, or of all in the database, before it is dropped. */
    void forget(Call call) {
        boolean isDatabase = call.is("dropDatabase");
        for (String namespace : List.copyOf(options.keySet())) {
            boolean isAffected =
                    isDatabase ? namespace.startsWith(call.database() + ".") : namespace.equals(call.namespace());
            if (isAffected) {
                String name = namespace.substring(call.database().length() + 1);
                removeValidator(backend.resolveDatabase(call.database()).resolveCollection(name, false));
                options.remove(namespace);
                insertionOrder.remove(namespace);
            }
        }
    }

    /** The library does not drop a collection with an index that it does not know. */
    static void removeValidator(MongoCollection<?> collection) {
        if (collection != null) {
            collection.getIndexes().removeIf(index -> index.getName().equals(VALIDATOR_INDEX));
        }
    }

    /** Rejects documents that do not match. The library checks indexes before each insert and update. */
    private static final class Validator extends EmptyIndex<Object> {
        private final Document expression;
        private final boolean isModerate;

        Validator(Document options) {
            super(VALIDATOR_INDEX, List.of());
            expression = (Document) options.get("validator");
            isModerate = "moderate".equals(options.get("validationLevel"));
        }

        /** Documents that exist already are not checked. */
        @Override
        public boolean isEmpty() {
            return false;
        }

        @Override
        public void checkAdd(Document document, MongoCollection<Object> collection) {
            if (!MATCHER.matches(document, expression)) {
                throw Call.error(121, "Document failed validation");
            }
        }

        @Override
        public void checkUpdate(Document before, Document after, MongoCollection<Object> collection) {
            if (!isModerate || MATCHER.matches(before, expression)) {
                checkAdd(after, collection);
            }
        }
    }

    @SuppressWarnings("unchecked")
    private void enforceValidator(Call call) {
        MongoCollection<Object> collection = (MongoCollection<Object>)
                backend.resolveDatabase(call.database()).resolveCollection(call.collection(), true);
        removeValidator(collection);
        Document current = optionsOf(call);
        boolean isEnforced = current.containsKey("validator") && !"off".equals(current.get("validationLevel"))
                && !"warn".equals(current.get("validationAction"));
        if (isEnforced) {
            collection.addIndex(new Validator(current));
        }
    }

    /** Deletes the oldest documents of a capped collection that it has no room for. */
    void trim(Call call) {
        Document current = optionsOf(call);
        if (!Boolean.TRUE.equals(current.get("capped"))) {
            return;
        }
        MongoCollection<?> collection =
                backend.resolveDatabase(call.database()).resolveCollection(call.collection(), true);
        Set<Object> order = insertionOrder.computeIfAbsent(call.namespace(), name -> new LinkedHashSet<>());
        Set<Object> stored = new LinkedHashSet<>();
        collection.queryAll().forEach(document -> stored.add(document.get("_id")));
        order.retainAll(stored);
        order.addAll(stored);

        long max = current.get("max") instanceof Number number ? number.longValue() : Long.MAX_VALUE;
        long size = ((Number) current.get("size")).longValue();
        while (!order.isEmpty() && (order.size() > max || ((Number) collection.getStats().get("size")).longValue() > size)) {
            Object oldest = order.iterator().next();
            collection.deleteDocuments(new Document("_id", oldest), 1);
            order.remove(oldest);
        }
    }

    /** The command on the collection that it names, or on the collection under the view. */
    Call resolveView(Call call) {
        Document view = optionsOf(call);
        if (!(view.get("viewOn") instanceof String source)) {
            return call;
        }
        if (call.acceptsWriteConcern() && !call.is("drop") && !call.is("create")) {
            throw Call.error(166, "Namespace " + call.namespace() + " is a view, not a collection");
        }
        if (call.is("drop") || call.is("create") || call.is("listIndexes")) {
            return call;
        }
        Document body = new Document(call.name(), source);
        call.body().forEach(body::putIfAbsent);
        List<?> pipeline = view.get("pipeline") instanceof List<?> stages ? stages : List.of();
        if (!pipeline.isEmpty()) {
            if (!call.is("aggregate")) {
                throw Call.error(238, "the stand-in reads views with a pipeline by aggregate only");
            }
            List<Object> all = new ArrayList<>(pipeline);
            all.addAll(call.documents("pipeline"));
            body.put("pipeline", all);
        }
        return resolveView(call.with(call.name(), body));
    }

    Call withCollation(Call call) {
        return CaseFolding.apply(call, (Document) optionsOf(call).get("collation"));
    }

    Document createIndexes(Call call, Call.Library library) {
        List<Document> existing = backend.resolveDatabase(call.database()).resolveCollection(call.collection(), false) == null
                ? List.of() : firstBatch(library.apply(call.with("listIndexes", new Document("listIndexes", call.collection()))));
        List<Document> created = new ArrayList<>();
        for (Document index : call.documents("indexes")) {
            putCollation(index, optionsOf(call));
            boolean isMissing = existing.stream().noneMatch(other -> isSame(index, other));
            if (isMissing) {
                created.add(index);
            }
        }
        return created.isEmpty()
                ? Call.ok().append("note", "all indexes already exist")
                : library.apply(call.with(call.name(), call.body().clone().append("indexes", created)));
    }

    /** Whether the index exists already. */
    private static boolean isSame(Document index, Document other) {
        boolean hasSameKey = index.get("key").toString().equals(other.get("key").toString());
        boolean hasSameName = index.get("name").equals(other.get("name"));
        if (hasSameName && !hasSameKey) {
            throw Call.error(86, "An existing index has the same name as the requested index. When index names are not "
                    + "specified, they are auto generated and can cause conflicts. Please refer to our documentation. "
                    + "Requested index: " + index + ", existing index: " + other);
        }
        boolean hasSameIdentity = hasSameKey
                && equal(index, other, "collation") && equal(index, other, "partialFilterExpression");
        if (!hasSameIdentity) {
            if (hasSameName) {
                throw Call.error(86, "An existing index has the same name as the requested index. Requested index: "
                        + index + ", existing index: " + other);
            }
            return false;
        }
        if (!hasSameName) {
            throw Call.error(85, "Index already exists with a different name: " + other.get("name"));
        }
        for (String option : List.of("unique", "sparse", "expireAfterSeconds")) {
            if (!equal(index, other, option)) {
                throw Call.error(85, "An equivalent index already exists with the same name but different options. "
                        + "Requested index: " + index + ", existing index: " + other);
            }
        }
        return true;
    }

    private static boolean equal(Document index, Document other, String option) {
        Object left = index.get(option);
        Object right = other.get(option);
        boolean isFalse = Boolean.FALSE.equals(left) && right == null || left == null && Boolean.FALSE.equals(right);
        return isFalse || String.valueOf(left).equals(String.valueOf(right));
    }

    Document listIndexes(Call call, Call.Library library) {
        if (backend.resolveDatabase(call.database()).resolveCollection(call.collection(), false) == null) {
            throw Call.error(26, "ns does not exist: " + call.namespace());
        }
        return library.apply(call);
    }

    Document listCollections(Call call, Call.Library library) {
        Document response = library.apply(call);
        Document filter = call.document("filter");
        List<Document> found = new ArrayList<>();
        for (Document collection : firstBatch(response)) {
            Document current = options.getOrDefault(call.database() + "." + collection.get("name"), new Document());
            collection.put("options", current);
            if (current.containsKey("viewOn")) {
                collection.put("type", "view");
                collection.put("info", new Document("readOnly", true));
                collection.remove("idIndex");
            } else if (current.containsKey("timeseries")) {
                collection.put("type", "timeseries");
            }
            if (MATCHER.matches(collection, filter)) {
                found.add(collection);
            }
        }
        if (Boolean.TRUE.equals(call.body().get("nameOnly"))) {
            found.replaceAll(all -> new Document("name", all.get("name")).append("type", all.get("type")));
        }
        ((Document) response.get("cursor")).put("firstBatch", found);
        return response;
    }

    private static List<Document> firstBatch(Document response) {
        List<Document> batch = new ArrayList<>();
        for (Object document : (Iterable<?>) ((Document) response.get("cursor")).get("firstBatch")) {
            batch.add((Document) document);
        }
        return batch;
    }

    /** Completes the collation as MongoDB stores it; the simple one is not stored. */
    private static void putCollation(Document target, Document defaults) {
        Object given = target.getOrDefault("collation", defaults.get("collation"));
        target.remove("collation");
        if (given instanceof Document collation && !"simple".equals(collation.get("locale"))) {
            Document complete = new Document("locale", collation.get("locale")).append("caseLevel", false)
                    .append("caseFirst", "off").append("strength", 3).append("numericOrdering", false)
                    .append("alternate", "non-ignorable").append("maxVariable", "punct")
                    .append("normalization", false).append("backwards", false).append("version", "57.1");
            complete.putAll(collation);
            target.put("collation", complete);
        }
    }
}
