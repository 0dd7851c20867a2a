import java.io.PrintWriter;
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.PGStatement;

/**
 * A client's session. Each line that is read is a task of its own: its number, what to do, the URL of a database and the plugin's
 * name. The answer is a line too: the number, whether it was done, and in Base64 what was seen.
 */
public final class Session {
    private static final ThreadLocal<StringBuilder> SEEN = ThreadLocal.withInitial(StringBuilder::new);

    private final String url;
    private final String plugin;

    private Session(String url, String plugin) {
        this.url = url;
        this.plugin = plugin;
    }

    public static void main(String[] arguments) throws Exception {
        ExecutorService threads = Executors.newCachedThreadPool();
        Scanner tasks = new Scanner(System.in);
        while (tasks.hasNextLine()) {
            String[] task = tasks.nextLine().split("\t");
            threads.execute(() -> {
                boolean done = true;
                SEEN.get().setLength(0);
                try {
                    Session.class.getDeclaredMethod(task[1]).invoke(new Session(task[2], task[3]));
                } catch (Throwable error) {
                    done = false;
                    StringWriter trace = new StringWriter();
                    error.printStackTrace(new PrintWriter(trace));
                    SEEN.get().append(trace);
                }
                String seen = Base64.getEncoder().encodeToString(SEEN.get().toString().getBytes());
                System.out.println(task[0] + "\t" + done + "\t" + seen);
            });
        }
        threads.shutdownNow();
    }

    private Connection connected(String... more) throws SQLException {
        return DriverManager.getConnection(url + "&" + String.join("&", more));
    }

    private static void say(Object... seen) {
        SEEN.get().append(Arrays.deepToString(seen)).append('\n');
    }

    private interface Act {
        void run() throws SQLException;
    }

    private static void sayError(Act act) {
        try {
            act.run();
            throw new AssertionError("expected an error");
        } catch (SQLException error) {
            say(error.getClass().getSimpleName(), error.getSQLState(), error.getMessage());
        }
    }

    private static List<List<Object>> rows(ResultSet set) throws SQLException {
        List<List<Object>> rows = new ArrayList<>();
        while (set.next()) {
            List<Object> row = new ArrayList<>();
            for (int column = 1; column <= set.getMetaData().getColumnCount(); column++) {
                row.add(set.getString(column));
            }
            rows.add(row);
        }
        return rows;
    }

    private static List<List<Object>> ask(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            return statement.execute(sql) ? rows(statement.getResultSet()) : List.of();
        }
    }

    void preparesAfterSomeExecutions() throws SQLException {
        for (String threshold : List.of("5", "1", "0", "-1")) {
            try (Connection connection = connected("prepareThreshold=" + threshold);
                    PreparedStatement statement = connection.prepareStatement("select ?::int + 1, 'literal', current_schema()")) {
                for (int n = 0; n < 12; n++) {
                    statement.setInt(1, n);
                    say(threshold, rows(statement.executeQuery()), statement.unwrap(PGStatement.class).isUseServerPrepare());
                }
                // Another type: another statement.
                statement.setObject(1, "7", Types.OTHER);
                say(rows(statement.executeQuery()));
                statement.setObject(1, "x", Types.OTHER);
                sayError(statement::executeQuery);
                statement.setInt(1, 1);
                say(rows(statement.executeQuery()));
            }
        }
    }

    void forgetsTheLeastUsed() throws SQLException {
        try (Connection connection = connected("prepareThreshold=1", "preparedStatementCacheQueries=3")) {
            for (int round = 0; round < 4; round++) {
                for (int n = 0; n < 6; n++) {
                    try (PreparedStatement statement = connection.prepareStatement("select " + n + " + ?")) {
                        statement.setInt(1, round);
                        say(rows(statement.executeQuery()));
                    }
                }
            }
        }
    }

    void fetchesInPieces() throws SQLException {
        try (Connection connection = connected("defaultRowFetchSize=7")) {
            connection.setAutoCommit(false);
            try (Statement statement = connection.createStatement()) {
                ResultSet set = statement.executeQuery("select n, 'row ' || n from generate_series(1, 100) n");
                set.next();
                // Another query between two pieces, and another cursor.
                say(ask(connection, "select n from generate_series(1, 20) n").size());
                say(rows(set).size());
            }
            try (Statement statement = connection.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_READ_ONLY)) {
                ResultSet set = statement.executeQuery("select generate_series(1, 30)");
                set.last();
                say(set.getRow());
                set.absolute(3);
                say(set.getInt(1));
            }
            PreparedStatement fails = connection.prepareStatement("select 10 / (50 - n) from generate_series(1, 100) n");
            ResultSet set = fails.executeQuery();
            sayError(() -> rows(set));
            connection.rollback();
            say(ask(connection, "select 'goes on'"));
        }
    }

    void updatesItsRows() throws SQLException {
        try (Connection connection = connected()) {
            ask(connection, "create table item (id int primary key, name text)");
            ask(connection, "insert into item select n, 'row ' || n from generate_series(1, 5) n");
            try (Statement statement = connection.createStatement(ResultSet.TYPE_SCROLL_SENSITIVE, ResultSet.CONCUR_UPDATABLE)) {
                ResultSet set = statement.executeQuery("select id, name from item order by id");
                set.absolute(2);
                set.updateString("name", "changed");
                set.updateRow();
                set.next();
                set.deleteRow();
                set.moveToInsertRow();
                set.updateInt("id", 9);
                set.updateString("name", "new");
                set.insertRow();
            }
            say(ask(connection, "table item order by id"));
        }
    }

    void sendsBatches() throws SQLException {
        for (String rewrites : List.of("true", "false")) {
            try (Connection connection = connected("reWriteBatchedInserts=" + rewrites)) {
                ask(connection, "drop table if exists item");
                ask(connection, "create table item (id serial primary key, n int unique, name text)");
                String insert = "insert into item (n, name) values (?, ?)";
                try (PreparedStatement statement = connection.prepareStatement(insert, Statement.RETURN_GENERATED_KEYS)) {
                    for (int n = 0; n < 300; n++) {
                        statement.setInt(1, n);
                        statement.setString(2, "row " + n);
                        statement.addBatch();
                    }
                    say(statement.executeBatch().length, rows(statement.getGeneratedKeys()).size());
                }
                try (PreparedStatement statement = connection.prepareStatement(insert)) {
                    for (int n : new int[] {1000, 1001, 7, 1002}) {
                        statement.setInt(1, n);
                        statement.setString(2, "again");
                        statement.addBatch();
                    }
                    sayError(statement::executeBatch);
                }
                try (Statement statement = connection.createStatement()) {
                    statement.addBatch("update item set name = 'x' where n < 3");
                    statement.addBatch("delete from item where n >= 200");
                    say(statement.executeBatch());
                }
                say(ask(connection, "select count(*), max(n) from item"));
                try (PreparedStatement statement = connection.prepareStatement(insert, new String[] {"id", "n"})) {
                    statement.setInt(1, 5000);
                    statement.setString(2, "one");
                    statement.executeUpdate();
                    say(rows(statement.getGeneratedKeys()));
                }
            }
        }
    }

    void savesPoints() throws SQLException {
        for (String saves : List.of("never", "always", "conservative")) {
            try (Connection connection = connected("autosave=" + saves)) {
                connection.setAutoCommit(false);
                ask(connection, "create table if not exists item (id int)");
                Savepoint point = connection.setSavepoint("a point");
                ask(connection, "insert into item values (1)");
                connection.rollback(point);
                sayError(() -> ask(connection, "selekt"));
                try {
                    say(ask(connection, "select count(*) from item"));
                } catch (SQLException error) {
                    say(error.getSQLState());
                }
                connection.rollback();
                connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
                connection.setReadOnly(true);
                say(ask(connection, "show transaction_isolation"), ask(connection, "show transaction_read_only"));
                connection.commit();
            }
        }
    }

    void meetsAChangedTable() throws SQLException {
        for (String saves : List.of("never", "always")) {
            try (Connection connection = connected("prepareThreshold=1", "autosave=" + saves); Connection other = connected()) {
                ask(connection, "drop table if exists item");
                ask(connection, "create table item (id int)");
                try (PreparedStatement statement = connection.prepareStatement("select * from item")) {
                    statement.executeQuery();
                    ask(other, "alter table item add column name text");
                    // Outside of a transaction the driver prepares it again by itself.
                    say(statement.executeQuery().getMetaData().getColumnCount());
                    connection.setAutoCommit(false);
                    statement.executeQuery();
                    ask(connection, "alter table item add column more int");
                    if (saves.equals("always")) {
                        say(statement.executeQuery().getMetaData().getColumnCount());
                    } else {
                        sayError(statement::executeQuery);
                    }
                    connection.rollback();
                    say(statement.executeQuery().getMetaData().getColumnCount());
                }
            }
        }
    }

    void copies() throws Exception {
        try (Connection connection = connected()) {
            ask(connection, "create table item (id int, name text)");
            var copy = connection.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder lines = new StringBuilder();
            for (int n = 0; n < 3000; n++) {
                lines.append(n).append("\trow ").append(n).append('\n');
            }
            say(copy.copyIn("copy item from stdin", new StringReader(lines.toString())));
            StringWriter out = new StringWriter();
            say(copy.copyOut("copy (select * from item order by id) to stdout", out), out.toString().contentEquals(lines));
            sayError(() -> {
                try {
                    copy.copyIn("copy item from stdin", new StringReader("x\ty\n"));
                } catch (java.io.IOException error) {
                    throw new AssertionError(error);
                }
            });
            var given = copy.copyIn("copy item from stdin");
            given.writeToCopy("1\tone\n".getBytes(), 0, 6);
            given.cancelCopy();
            say(ask(connection, "select count(*) from item"));
        }
    }

    void hearsNotifications() throws SQLException {
        try (Connection connection = connected(); Connection teller = connected()) {
            ask(connection, "listen \"events of " + plugin + "\"");
            ask(teller, "select pg_notify('events of " + plugin + "', 'first')");
            teller.setAutoCommit(false);
            ask(teller, "select pg_notify('events of " + plugin + "', 'second')");
            teller.commit();
            PGConnection listener = connection.unwrap(PGConnection.class);
            List<String> heard = new ArrayList<>();
            while (heard.size() < 2) {
                for (PGNotification told : listener.getNotifications(20_000)) {
                    heard.add(told.getName() + ": " + told.getParameter());
                }
            }
            say(heard);
            ask(connection, "unlisten *");
        }
    }

    void cancels() throws Exception {
        try (Connection connection = connected(); Statement statement = connection.createStatement()) {
            Timer timer = new Timer(true);
            timer.schedule(
                    new TimerTask() {
                        @Override
                        public void run() {
                            try {
                                statement.cancel();
                            } catch (SQLException error) {
                                throw new AssertionError(error);
                            }
                        }
                    },
                    400);
            sayError(() -> statement.execute("select pg_sleep(60)"));
            timer.cancel();
            statement.setQueryTimeout(1);
            sayError(() -> statement.execute("select pg_sleep(60)"));
            say(ask(connection, "select 'goes on'"));
        }
    }

    void looksAtTheCatalog() throws SQLException {
        try (Connection connection = connected()) {
            ask(connection, "create type mood as enum ('calm', 'wild')");
            ask(connection, "create table item (id serial primary key, mood mood, tags text[], body jsonb)");
            ask(connection, "create table part (item_id int references item, unique (item_id))");
            DatabaseMetaData data = connection.getMetaData();
            for (ResultSet set : List.of(data.getTables(null, plugin, "%", null), data.getPrimaryKeys(null, plugin, "item"),
                    data.getImportedKeys(null, plugin, "part"), data.getColumns(null, plugin, "item", "%"))) {
                for (List<Object> row : rows(set)) {
                    say(row.subList(1, Math.min(row.size(), 8)));
                }
            }
            try (PreparedStatement insert = connection.prepareStatement("insert into item (mood, tags, body) values (?::mood, ?, ?::jsonb)")) {
                insert.setString(1, "wild");
                insert.setArray(2, connection.createArrayOf("text", new String[] {"a,b", null}));
                insert.setString(3, "{\"a\": 1}");
                say(insert.getParameterMetaData().getParameterTypeName(2), insert.executeUpdate());
            }
            try (PreparedStatement select = connection.prepareStatement("select * from item where mood = ?::mood")) {
                select.setString(1, "wild");
                ResultSet set = select.executeQuery();
                set.next();
                say(set.getObject("mood"), set.getArray("tags").getArray(), set.getObject("body").toString());
            }
            connection.setSchema(plugin);
            say(connection.getSchema(), connection.isValid(5));
        }
    }

    void keepsItsSettings() throws SQLException {
        try (Connection connection = connected("ApplicationName=mine", "options=-c%20statement_timeout=7s"); Connection other = connected()) {
            ask(connection, "set time zone 'Pacific/Auckland'");
            for (Connection who : List.of(connection, other)) {
                for (String name : List.of("statement_timeout", "TimeZone", "application_name", "extra_float_digits")) {
                    say(ask(who, "show " + name));
                }
            }
            connection.setClientInfo("ApplicationName", "another");
            say(ask(connection, "show application_name"));
        }
    }

    void sharesServers() throws Exception {
        try (Connection connection = connected()) {
            ask(connection, "create table item (n int)");
        }
        ExecutorService threads = Executors.newFixedThreadPool(8);
        List<Future<Object>> all = new ArrayList<>();
        for (int number = 0; number < 8; number++) {
            int n = number;
            all.add(threads.submit(() -> {
                try (Connection connection = connected("prepareThreshold=1");
                        PreparedStatement insert = connection.prepareStatement("insert into item values (?)")) {
                    connection.setAutoCommit(false);
                    for (int round = 0; round < 10; round++) {
                        insert.setInt(1, n);
                        insert.executeUpdate();
                        connection.commit();
                    }
                    return ask(connection, "select count(*) from item where n = " + n);
                }
            }));
        }
        for (Future<Object> one : all) {
            say(one.get(50, TimeUnit.SECONDS));
        }
        threads.shutdown();
    }
}
