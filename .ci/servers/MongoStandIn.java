import de.bwaldvogel.mongo.MongoBackend;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.MongoDatabaseHandler;
import de.bwaldvogel.mongo.wire.MongoExceptionHandler;
import de.bwaldvogel.mongo.wire.MongoWireMessageEncoder;
import de.bwaldvogel.mongo.wire.MongoWireProtocolHandler;
import de.bwaldvogel.mongo.wire.MongoWireReplyEncoder;
import io.netty.bootstrap.ServerBootstrap;
import io.netty.channel.Channel;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.group.ChannelGroup;
import io.netty.channel.group.DefaultChannelGroup;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.SocketChannel;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.util.concurrent.DefaultEventExecutor;
import io.netty.util.concurrent.GlobalEventExecutor;
import java.util.List;
import org.h2.mvstore.MVStore;

/**
 * mongo-java-server, made as strict as MongoDB 5.0: {@code MongoStandIn HOST PORT memory|FILE [REPLICA_SET]}.
 *
 * With REPLICA_SET it is the primary of a replica set of one of that name; without, a standalone.
 *
 * <h2>What it refuses, with MongoDB's codes and messages</h2>
 * Empty batches (16), unknown fields (40415), missing batches (40414), options of indexes that do not exist (197), a
 * maxTimeMS out of range (2) or exceeded (50), concerns that a command does not have (72), a second document without the
 * members of a unique index (11000), documents that a validator does not match (121), writes to a view (166), and indexes
 * that contradict existing ones (85, 86).
 *
 * <h2>Fail points</h2>
 * As in a mongod with {@code --setParameter enableTestCommands=1}, on the database admin. There is one failCommand, so
 * tests that set it run one after the other, and name their connection in `appName` (`?appName=` of their URI):
 * <pre>
 * {configureFailPoint: "failCommand", mode: {times: 2},            // or {skip: n}, "alwaysOn", "off"
 *  data: {failCommands: ["insert"], appName: "test_x",             // or namespace: "database.collection"
 *         errorCode: 10107,                                        // the command is not run
 *         closeConnection: true,                                   // as is this
 *         blockConnection: true, blockTimeMS: 500,                 // run later; 50 if its maxTimeMS is over
 *         writeConcernError: {code: 91, errmsg: "shutting down"}}} // the write is run; not with the others
 * </pre>
 * A majority that does not get writes, as in a set whose secondaries lag. MongoDB has this fail point for all databases;
 * the member `database` is of the stand-in, so that tests can run at the same time:
 * <pre>
 * {configureFailPoint: "disableSnapshotting", mode: "alwaysOn", data: {database: "test_x"}}
 * {configureFailPoint: "disableSnapshotting", mode: "off",      data: {database: "test_x"}}
 * </pre>
 * Meanwhile a write with `w: "majority"`, which is the default, is applied and waits: with a wtimeout until the
 * writeConcernError 64, without one until "off". Reads with read concern local find it, those with majority or snapshot
 * do not, those with linearizable wait for their maxTimeMS.
 *
 * The stand-in alone has the command of a fail-over to a member that has what the majority has. It drops every other
 * write, ends "disableSnapshotting", and responds to waiting writes with the writeConcernError 189:
 * <pre>
 * {failOver: 1, database: "test_x"}                                // code 59 in MongoDB
 * </pre>
 *
 * <h2>What it still cannot do</h2>
 * Logins, TLS, transactions, sessions, retryable writes, change streams, several members of a replica set, sharding,
 * explain, bulkWrite of 8.0, updates by a pipeline, keyPattern and keyValue of duplicates, $jsonSchema, and collations but
 * for the case of texts that a filter compares for equality. An empty document sequence (OP_MSG) ends the connection.
 *
 * It ignores hints, bypassDocumentValidation, and the partialFilterExpression of a unique index (which all documents are
 * in), and never deletes by a TTL: listCollections and listIndexes show them. A time series is a plain collection, and a
 * capped collection has no order. Options of collections do not survive a restart, nor does a fail-over change them or
 * indexes; connections stay open in it. A majority read through a view, or with a collation, is as without them. A write
 * that exceeds its maxTimeMS is applied as a whole, and an ordered update or delete continues behind an error. No index
 * makes a query faster, $avg of decimals is a double, and texts are ordered by UTF-16 units.
 */
public final class MongoStandIn {
    /** Stores data in a file. A kill loses no write: data is passed to the operating system before the response. */
    private static final class File extends H2Backend {
        private final Commands commands;

        File(String path, String replicaSet) {
            // Background commits are disabled: they only queue the write, and commit() then finds no changes and
            // returns before the data is written.
            super(new MVStore.Builder().fileName(path).cacheSize(96).autoCommitDisabled().open());
            // Each write command creates a version. Without these limits, the file grows by megabytes per second.
            getMvStore().setRetentionTime(1_000);
            getMvStore().setVersionsToKeep(0);
            commands = new Commands(this, replicaSet, this::commit);
        }

        /** Waits for the write that is running, because its thread outlives its connection. */
        @Override
        public void close() {
            synchronized (commands) {
                super.close();
            }
        }

        @Override
        public Document handleCommand(Channel channel, String database, String name, Document body) {
            return commands.run(new Call(channel, database, name, body), this::library);
        }

        private Document library(Call call) {
            return super.handleCommand(call.channel(), call.database(), call.name(), call.body());
        }
    }

    private static final class Memory extends MemoryBackend {
        private final Commands commands;

        Memory(String replicaSet) {
            commands = new Commands(this, replicaSet, () -> {});
        }

        @Override
        public Document handleCommand(Channel channel, String database, String name, Document body) {
            return commands.run(new Call(channel, database, name, body), this::library);
        }

        private Document library(Call call) {
            return super.handleCommand(call.channel(), call.database(), call.name(), call.body());
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

    /** The library's server with a thread for each connection: a command that waits must not stop others. */
    @SuppressWarnings("deprecation") // The version of Netty that the library brings has the successors too, others do not.
    private static Channel listen(MongoBackend backend, ChannelGroup clients, String host, int port) {
        ChannelInitializer<SocketChannel> initializer = new ChannelInitializer<>() {
            @Override
            public void initChannel(SocketChannel client) {
                DefaultEventExecutor thread = new DefaultEventExecutor();
                client.closeFuture().addListener(closed -> thread.shutdownGracefully());
                client.pipeline()
                        .addLast(new MongoWireReplyEncoder())
                        .addLast(new MongoWireMessageEncoder())
                        .addLast(new MongoWireProtocolHandler())
                        .addLast(thread, new MongoDatabaseHandler(backend, clients))
                        .addLast(new MongoExceptionHandler());
            }
        };
        return new ServerBootstrap()
                .group(new NioEventLoopGroup(1), new NioEventLoopGroup(2))
                .channel(NioServerSocketChannel.class)
                .option(ChannelOption.SO_BACKLOG, 100)
                .childOption(ChannelOption.TCP_NODELAY, true)
                .childHandler(initializer)
                .bind(host, port)
                .syncUninterruptibly()
                .channel();
    }

    public static void main(String[] args) throws Exception {
        String replicaSet = args.length > 3 ? args[3] : "";
        MongoBackend backend = args[2].equals("memory") ? new Memory(replicaSet) : new File(args[2], replicaSet);
        backend.version(new Version());
        ChannelGroup clients = new DefaultChannelGroup(GlobalEventExecutor.INSTANCE);
        Channel server = listen(backend, clients, args[0], Integer.parseInt(args[1]));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            server.close().syncUninterruptibly();
            clients.close().syncUninterruptibly();
            backend.close();
        }));
        System.out.println("Waiting for connections on " + server.localAddress());
        Thread.currentThread().join();
    }
}
