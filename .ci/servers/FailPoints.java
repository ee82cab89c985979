import de.bwaldvogel.mongo.bson.Document;
import io.netty.channel.Channel;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;

/** MongoDB's command configureFailPoint, with the fail points failCommand and disableSnapshotting. */
final class FailPoints {
    private final Majority majority;
    /** The application of each connection, as its handshake has named it. */
    private final Map<Channel, String> appNames = new ConcurrentHashMap<>();
    private FailPoint failCommand = FailPoint.OFF;

    /** When a fail point is active, and what it does. Entering it changes the counts. */
    private static final class FailPoint {
        static final FailPoint OFF = new FailPoint("off", new Document());

        private final Document data;
        private final double probability;
        private long skip;
        private long times;
        private int entered;

        FailPoint(Object mode, Document data) {
            this.data = data;
            Document counts = mode instanceof Document document ? document : new Document();
            skip = counts.get("skip") instanceof Number number ? number.longValue() : 0;
            times = counts.get("times") instanceof Number number ? number.longValue() : Long.MAX_VALUE;
            probability = counts.get("activationProbability") instanceof Number number ? number.doubleValue() : 1;
            if ("off".equals(mode)) {
                times = 0;
            } else if (counts.isEmpty() && !"alwaysOn".equals(mode)) {
                throw Call.error(2, "unknown mode: " + mode);
            }
        }

        boolean enter() {
            if (times == 0 || ThreadLocalRandom.current().nextDouble() >= probability) {
                return false;
            }
            entered++;
            if (skip > 0) {
                skip--;
                return false;
            }
            times--;
            return true;
        }
    }

    FailPoints(Majority majority) {
        this.majority = majority;
    }

    /** Stores the name of the application in a handshake. */
    void noteApplication(Call call) {
        if (call.document("client").get("application") instanceof Document application) {
            String previous = appNames.put(call.channel(), String.valueOf(application.get("name")));
            if (previous == null) {
                call.channel().closeFuture().addListener(closed -> appNames.remove(call.channel()));
            }
        }
    }

    synchronized Document configure(Call call) {
        if (!call.database().equals("admin")) {
            throw Call.error(13, "configureFailPoint may only be run against the admin database.");
        }
        Object mode = call.body().get("mode");
        Document data = call.document("data");
        switch (String.valueOf(call.body().get(call.name()))) {
            case "failCommand" -> {
                int entered = failCommand.entered;
                failCommand = new FailPoint(mode, data);
                return Call.ok().append("count", entered);
            }
            case "disableSnapshotting" -> {
                String database = (String) data.get("database");
                if ("off".equals(mode)) {
                    majority.release(database);
                } else {
                    majority.hold(database);
                }
                return Call.ok().append("count", 0);
            }
            default -> throw Call.error(266, call.body().get(call.name()) + " not found");
        }
    }

    /** What failCommand does before the command runs: waits, and returns an error or closes the connection. */
    Document responseInstead(Call call) {
        Document data = enter(call, true);
        if (data == null) {
            return null;
        }
        if (isTrue(data, "blockConnection")) {
            pause(((Number) data.get("blockTimeMS")).longValue());
        }
        if (isTrue(data, "closeConnection")) {
            call.channel().close();
        } else if (!data.containsKey("errorCode")) {
            return null;
        }
        int code = data.get("errorCode") instanceof Number number ? number.intValue() : 50985;
        Document response = new Document("ok", 0.0)
                .append("errmsg", "Failing command via 'failCommand' failpoint")
                .append("code", code)
                .append("codeName", Call.codeName(code));
        response.putIfNotNull("errorLabels", data.get("errorLabels"));
        if (data.get("errorExtraInfo") instanceof Document extra) {
            response.putAll(extra);
        }
        return response;
    }

    /** The write concern error that failCommand adds to the response of a write; null if there is none. */
    Document writeConcernError(Call call) {
        Document data = enter(call, false);
        return data == null ? null : (Document) data.get("writeConcernError");
    }

    /** The data of failCommand if it affects the command, and now is the time for it. */
    private synchronized Document enter(Call call, boolean isBefore) {
        Document data = failCommand.data;
        boolean hasEffectBefore = data.containsKey("errorCode") || isTrue(data, "closeConnection")
                || isTrue(data, "blockConnection");
        boolean isNow = isBefore ? hasEffectBefore : !hasEffectBefore && data.containsKey("writeConcernError");
        return isNow && affects(data, call) && failCommand.enter() ? data : null;
    }

    private boolean affects(Document data, Call call) {
        boolean isNamed = data.get("failCommands") instanceof List<?> names
                && names.stream().anyMatch(name -> call.is(String.valueOf(name)));
        Object namespace = data.get("namespace");
        Object appName = data.get("appName");
        return (isNamed || isTrue(data, "failAllCommands"))
                && (namespace == null || namespace.equals(call.namespace()))
                && (appName == null || appName.equals(appNames.get(call.channel())));
    }

    private static boolean isTrue(Document data, String member) {
        return Boolean.TRUE.equals(data.get(member));
    }

    private static void pause(long milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
        }
    }
}
