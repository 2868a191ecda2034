// Distributed under the Boost Software License, Version 1.0. See LICENSE.
import java.io.PrintWriter;
import java.sql.*;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Executor;
import java.util.logging.Logger;
import javax.sql.DataSource;

/** A connection to nothing: what a pool asks of it is answered at once, everything else is refused. */
final class Stub implements Connection {
    /** Where its connections come from. */
    static final class Source implements DataSource {
        @Override public Connection getConnection() { return new Stub(); }
        @Override public Connection getConnection(String user, String password) { return new Stub(); }
        @Override public PrintWriter getLogWriter() { return null; }
        @Override public void setLogWriter(PrintWriter out) {}
        @Override public void setLoginTimeout(int seconds) {}
        @Override public int getLoginTimeout() { return 0; }
        @Override public Logger getParentLogger() throws SQLFeatureNotSupportedException { throw refused(); }
        @Override public <T> T unwrap(Class<T> type) throws SQLException { throw refused(); }
        @Override public boolean isWrapperFor(Class<?> type) { return false; }
    }

    private int mark;

    static SQLFeatureNotSupportedException refused() { return new SQLFeatureNotSupportedException("a stub"); }

    /** What a holder does with it: touches it. */
    @Override public int getHoldability() { return ++mark; }

    @Override public boolean isValid(int seconds) { return true; }
    @Override public boolean isClosed() { return false; }
    @Override public void close() {}
    @Override public void abort(Executor executor) {}
    @Override public void commit() {}
    @Override public void rollback() {}
    @Override public void setAutoCommit(boolean on) {}
    @Override public boolean getAutoCommit() { return true; }
    @Override public void setReadOnly(boolean on) {}
    @Override public boolean isReadOnly() { return false; }
    @Override public void setCatalog(String catalog) {}
    @Override public String getCatalog() { return "stub"; }
    @Override public void setSchema(String schema) {}
    @Override public String getSchema() { return "stub"; }
    @Override public void setTransactionIsolation(int level) {}
    @Override public int getTransactionIsolation() { return TRANSACTION_READ_COMMITTED; }
    @Override public SQLWarning getWarnings() { return null; }
    @Override public void clearWarnings() {}
    @Override public void setNetworkTimeout(Executor executor, int milliseconds) {}
    @Override public int getNetworkTimeout() { return 0; }
    @Override public boolean isWrapperFor(Class<?> type) { return type.isInstance(this); }

    @Override public <T> T unwrap(Class<T> type) throws SQLException { throw refused(); }
    @Override public Statement createStatement() throws SQLException { throw refused(); }
    @Override public Statement createStatement(int type, int concurrency) throws SQLException { throw refused(); }
    @Override public Statement createStatement(int type, int concurrency, int holdability) throws SQLException { throw refused(); }
    @Override public PreparedStatement prepareStatement(String sql) throws SQLException { throw refused(); }
    @Override public PreparedStatement prepareStatement(String sql, int keys) throws SQLException { throw refused(); }
    @Override public PreparedStatement prepareStatement(String sql, int[] columns) throws SQLException { throw refused(); }
    @Override public PreparedStatement prepareStatement(String sql, String[] columns) throws SQLException { throw refused(); }
    @Override public PreparedStatement prepareStatement(String sql, int type, int concurrency) throws SQLException { throw refused(); }
    @Override public PreparedStatement prepareStatement(String sql, int type, int concurrency, int holdability) throws SQLException { throw refused(); }
    @Override public CallableStatement prepareCall(String sql) throws SQLException { throw refused(); }
    @Override public CallableStatement prepareCall(String sql, int type, int concurrency) throws SQLException { throw refused(); }
    @Override public CallableStatement prepareCall(String sql, int type, int concurrency, int holdability) throws SQLException { throw refused(); }
    @Override public String nativeSQL(String sql) throws SQLException { throw refused(); }
    @Override public DatabaseMetaData getMetaData() throws SQLException { throw refused(); }
    @Override public Map<String, Class<?>> getTypeMap() throws SQLException { throw refused(); }
    @Override public void setTypeMap(Map<String, Class<?>> map) throws SQLException { throw refused(); }
    @Override public void setHoldability(int holdability) throws SQLException { throw refused(); }
    @Override public Savepoint setSavepoint() throws SQLException { throw refused(); }
    @Override public Savepoint setSavepoint(String name) throws SQLException { throw refused(); }
    @Override public void rollback(Savepoint savepoint) throws SQLException { throw refused(); }
    @Override public void releaseSavepoint(Savepoint savepoint) throws SQLException { throw refused(); }
    @Override public Clob createClob() throws SQLException { throw refused(); }
    @Override public Blob createBlob() throws SQLException { throw refused(); }
    @Override public NClob createNClob() throws SQLException { throw refused(); }
    @Override public SQLXML createSQLXML() throws SQLException { throw refused(); }
    @Override public void setClientInfo(String name, String value) {}
    @Override public void setClientInfo(Properties properties) {}
    @Override public String getClientInfo(String name) { return null; }
    @Override public Properties getClientInfo() { return new Properties(); }
    @Override public Array createArrayOf(String type, Object[] elements) throws SQLException { throw refused(); }
    @Override public Struct createStruct(String type, Object[] attributes) throws SQLException { throw refused(); }
}
