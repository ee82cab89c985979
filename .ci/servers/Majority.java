import de.bwaldvogel.mongo.MongoBackend;
import de.bwaldvogel.mongo.MongoCollection;
import de.bwaldvogel.mongo.MongoDatabase;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.oplog.NoopOplog;
import io.netty.channel.Channel;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * What a majority of a replica set has, while it is held back.
 *
 * A database is copied before its first write after the hold. Reads with read concern majority, snapshot or linearizable
 * read the copy; writes with w: majority wait for the end of the hold, like in a replica set whose secondaries lag.
 */
final class Majority {
    private final MongoBackend live;
    private MemoryBackend committed = new MemoryBackend();
    /** The databases that are held back; null in it stands for all. */
    private final Set<String> held = new HashSet<>();
    /** The databases with a copy in `committed`. */
    private final Set<String> copied = new HashSet<>();
    /** Counts fail-overs, which end the wait of writes. */
    private int term;

    Majority(MongoBackend live) {
        this.live = live;
    }

    synchronized void hold(String database) {
        held.add(database);
    }

    /** The majority catches up in this database, or in all. */
    synchronized void release(String database) {
        if (database == null) {
            held.clear();
            copied.clear();
            committed = new MemoryBackend();
        } else {
            held.remove(database);
            if (copied.remove(database)) {
                committed.dropDatabase(database);
            }
        }
        notifyAll();
    }

    /** A new primary that has what the majority has: unlike it, this keeps connections, indexes and options. */
    synchronized Document failOver(Call call) {
        String only = (String) call.body().get("database");
        for (String database : copied) {
            if (only == null || only.equals(database)) {
                copy(call.channel(), database, committed, live);
            }
        }
        term++;
        release(only);
        return Call.ok();
    }

    private boolean isHeld(String database) {
        return held.contains(null) || held.contains(database);
    }

    synchronized void beforeWrite(Call call) {
        if (isHeld(call.database()) && copied.add(call.database())) {
            copy(call.channel(), call.database(), live, committed);
        }
    }

    /** The response to a read that must see what the majority has only; null for others. */
    synchronized Document read(Call call) {
        if (call.is("getMore") || call.is("killCursors")) {
            return readCursor(call);
        }
        Object level = call.document("readConcern").get("level");
        boolean isLocal = level == null || level.equals("local") || level.equals("available");
        if (isLocal || !copied.contains(call.database())) {
            return null;
        }
        if (level.equals("linearizable") && awaitMajority(call, call.maxTimeMs()) != Wait.DONE) {
            throw Call.error(50, "operation exceeded time limit");
        }
        return withNegativeCursorId(committed.handleCommand(call.channel(), call.database(), call.name(), call.body()));
    }

    /** The cursors of the copy have negative ids, so that their batches are not looked for elsewhere. */
    private Document readCursor(Call call) {
        List<?> ids = call.is("getMore") ? List.of(call.body().get(call.name())) : cursorIds(call);
        Object first = ids.isEmpty() ? 0L : ids.get(0);
        if (!(first instanceof Number id) || id.longValue() >= 0) {
            return null;
        }
        Document body = call.body().clone();
        if (call.is("getMore")) {
            body.put(call.name(), -id.longValue());
        } else {
            body.put("cursors", cursorIds(call).stream().map(cursor -> -((Number) cursor).longValue()).toList());
        }
        return withNegativeCursorId(committed.handleCommand(call.channel(), call.database(), call.name(), body));
    }

    private static List<?> cursorIds(Call call) {
        return call.body().get("cursors") instanceof List<?> ids ? ids : List.of();
    }

    private static Document withNegativeCursorId(Document response) {
        if (response.get("cursor") instanceof Document cursor && cursor.get("id") instanceof Number id) {
            cursor.put("id", -id.longValue());
        }
        return response;
    }

    private enum Wait { DONE, TIMED_OUT, FAILED_OVER }

    /** The write concern error of a write that the majority does not have in time; null if it has it. */
    synchronized Document writeConcernError(Call call) {
        Document concern = call.document("writeConcern");
        // Since 5.0, the default is a majority.
        Object w = concern.getOrDefault("w", "majority");
        long timeout = concern.get("wtimeout") instanceof Number number ? number.longValue() : 0;
        long limit = call.maxTimeMs();
        if (!w.equals("majority") && !(w instanceof Number count && count.intValue() > 1)) {
            return null;
        }
        boolean isLimited = limit > 0 && (timeout == 0 || limit < timeout);
        return switch (awaitMajority(call, isLimited ? limit : timeout)) {
            case DONE -> null;
            case FAILED_OVER -> concernError(189, "Primary stepped down while waiting for replication");
            case TIMED_OUT -> isLimited
                    ? concernError(50, "operation exceeded time limit")
                    : concernError(64, "waiting for replication timed out")
                            .append("errInfo", new Document("wtimeout", true).append("writeConcern",
                                    concern.clone().append("provenance", "clientSupplied")));
        };
    }

    private static Document concernError(int code, String message) {
        return new Document("code", code).append("codeName", Call.codeName(code)).append("errmsg", message);
    }

    /** Waits until the database is not held back, without a limit if it is 0. */
    private synchronized Wait awaitMajority(Call call, long limitMs) {
        long deadline = System.nanoTime() + limitMs * 1_000_000;
        int termBefore = term;
        while (isHeld(call.database()) && term == termBefore && call.channel().isActive()) {
            long remainingMs = limitMs == 0 ? 1_000 : (deadline - System.nanoTime()) / 1_000_000;
            if (remainingMs <= 0) {
                return Wait.TIMED_OUT;
            }
            try {
                wait(remainingMs);
            } catch (InterruptedException stopped) {
                Thread.currentThread().interrupt();
                return Wait.FAILED_OVER;
            }
        }
        return term == termBefore ? Wait.DONE : Wait.FAILED_OVER;
    }

    /** Makes the documents of the database in `to` those that it has in `from`. */
    private static void copy(Channel channel, String database, MongoBackend from, MongoBackend to) {
        MongoDatabase source = from.resolveDatabase(database);
        MongoDatabase target = to.resolveDatabase(database);
        List<String> names = collectionNames(channel, source);
        for (String name : collectionNames(channel, target)) {
            if (!names.contains(name)) {
                Catalog.removeValidator(target.resolveCollection(name, true));
                target.dropCollection(name, NoopOplog.get());
            }
        }
        for (String name : names) {
            MongoCollection<?> collection = target.resolveCollection(name, false);
            if (collection == null) {
                collection = target.createCollectionOrThrowIfExists(name);
            }
            collection.deleteDocuments(new Document(), 0);
            for (Document document : source.resolveCollection(name, true).queryAll()) {
                collection.addDocument(document.cloneDeeply());
            }
        }
    }

    private static List<String> collectionNames(Channel channel, MongoDatabase database) {
        Document response = database.handleCommand(
                channel, "listCollections", new Document("listCollections", 1), null, NoopOplog.get());
        List<String> names = new ArrayList<>();
        for (Object collection : (Iterable<?>) ((Document) response.get("cursor")).get("firstBatch")) {
            names.add((String) ((Document) collection).get("name"));
        }
        return names;
    }
}
