// Distributed under the Boost Software License, Version 1.0. See LICENSE.
#pragma once

#include <cenote/driver.hpp>

namespace cenote::drivers::mysql_client {

/// The class of an error of MySQL, MariaDB or either client, by number: half of the names exist on one side only, and every lost
/// connection has the same SQLSTATE.
[[nodiscard]] constexpr error_class class_of(unsigned code) noexcept {
    switch (code) {
    case 2001: // CR_SOCKET_CREATE_ERROR, CR_IPSOCK_ERROR: our own descriptors ran out
    case 2004:
    case 2002: // CR_CONNECTION_ERROR: also a refused TCP connection, with Connector/C
    case 2003: // CR_CONN_HOST_ERROR
    case 2005: // CR_UNKNOWN_HOST
        return error_class::refused;
    case 1053: // ER_SERVER_SHUTDOWN
    case 1077: // ER_NORMAL_SHUTDOWN, ER_GOT_SIGNAL, ER_SHUTDOWN_COMPLETE, ER_FORCING_CLOSE
    case 1078:
    case 1079:
    case 1080:
    case 1152: // ER_ABORTING_CONNECTION
    case 1156: // ER_NET_PACKETS_OUT_OF_ORDER … ER_NET_WRITE_INTERRUPTED
    case 1157:
    case 1158:
    case 1159:
    case 1160:
    case 1161:
    case 1184: // ER_NEW_ABORTING_CONNECTION
    case 1927: // ER_CONNECTION_KILLED
    case 2006: // CR_SERVER_GONE_ERROR
    case 2013: // CR_SERVER_LOST
    case 2014: // CR_COMMANDS_OUT_OF_SYNC
    case 2026: // CR_SSL_CONNECTION_ERROR: what Connector/C says when a connection with TLS is lost
    case 2027: // CR_MALFORMED_PACKET
    case 2048: // CR_INVALID_CONN_HANDLE
    case 2055: // CR_SERVER_LOST_EXTENDED
    case 3168: // ER_SERVER_ISNT_AVAILABLE
    case 3169: // ER_SESSION_WAS_KILLED
    case 4031: // ER_CLIENT_INTERACTION_TIMEOUT
    case 5013: // CR_ERR_NET_READ … CR_ERR_NET_UNCOMPRESS: what Connector/C says when the system has told why the connection is lost
    case 5014:
    case 5015:
        return error_class::disconnected;
    case 1040: // ER_CON_COUNT_ERROR
    case 1135: // ER_CANT_CREATE_THREAD
    case 1203: // ER_TOO_MANY_USER_CONNECTIONS
    case 1226: // ER_USER_LIMIT_REACHED
        return error_class::server_full;
    case 1044: // ER_DBACCESS_DENIED_ERROR
    case 1045: // ER_ACCESS_DENIED_ERROR
    case 1129: // ER_HOST_IS_BLOCKED: too many failed connects from here
    case 1130: // ER_HOST_NOT_PRIVILEGED
    case 1131: // ER_PASSWORD_ANONYMOUS_USER
    case 1142: // ER_TABLEACCESS_DENIED_ERROR
    case 1143: // ER_COLUMNACCESS_DENIED_ERROR
    case 1227: // ER_SPECIFIC_ACCESS_DENIED_ERROR
    case 1251: // ER_NOT_SUPPORTED_AUTH_MODE
    case 1370: // ER_PROCACCESS_DENIED_ERROR
    case 1524: // ER_PLUGIN_IS_NOT_LOADED
    case 1698: // ER_ACCESS_DENIED_NO_PASSWORD_ERROR
    case 1820: // ER_MUST_CHANGE_PASSWORD
    case 1862: // ER_MUST_CHANGE_PASSWORD_LOGIN
    case 2049: // CR_SECURE_AUTH
    case 2058: // CR_AUTH_PLUGIN_CANNOT_LOAD_ERROR, CR_AUTH_PLUGIN_CANNOT_LOAD, CR_AUTH_PLUGIN_ERR
    case 2059:
    case 2061:
    case 3118: // ER_ACCOUNT_HAS_BEEN_LOCKED
    case 3159: // ER_SECURE_TRANSPORT_REQUIRED
    case 4151: // ER_ACCOUNT_HAS_BEEN_LOCKED, MariaDB
        return error_class::auth;
    case 1047: // ER_UNKNOWN_COM_ERROR: what a Galera node without its cluster says
    case 1290: // ER_OPTION_PREVENTS_STATEMENT: read_only
    case 1792: // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
    case 1836: // ER_READ_ONLY_MODE
    case 1874: // ER_INNODB_READ_ONLY
        return error_class::wrong_role;
    case 1243: // ER_UNKNOWN_STMT_HANDLER
    case 1615: // ER_NEED_REPREPARE
    case 2056: // CR_STMT_CLOSED
    case 2057: // CR_NEW_STMT_METADATA: it has run, with other columns than before
        return error_class::stale_plan;
    case 1020: // ER_CHECKREAD: another transaction changed the row, MariaDB
    case 1213: // ER_LOCK_DEADLOCK
    case 1614: // ER_XA_RBDEADLOCK
    case 3101: // ER_TRANSACTION_ROLLBACK_DURING_COMMIT
        return error_class::serialization;
    case 1022: // ER_DUP_KEY
    case 1048: // ER_BAD_NULL_ERROR
    case 1062: // ER_DUP_ENTRY
    case 1169: // ER_DUP_UNIQUE
    case 1216: // ER_NO_REFERENCED_ROW
    case 1217: // ER_ROW_IS_REFERENCED
    case 1364: // ER_NO_DEFAULT_FOR_FIELD
    case 1451: // ER_ROW_IS_REFERENCED_2
    case 1452: // ER_NO_REFERENCED_ROW_2
    case 1557: // ER_FOREIGN_DUPLICATE_KEY
    case 1586: // ER_DUP_ENTRY_WITH_KEY_NAME
    case 1761: // ER_FOREIGN_DUPLICATE_KEY_WITH_CHILD_INFO, …WITHOUT…
    case 1762:
    case 1859: // ER_DUP_UNKNOWN_IN_INDEX
    case 3819: // ER_CHECK_CONSTRAINT_VIOLATED
    case 4025: // ER_CONSTRAINT_FAILED
        return error_class::constraint;
    case 1205: // ER_LOCK_WAIT_TIMEOUT
    case 1613: // ER_XA_RBTIMEOUT
    case 1969: // ER_STATEMENT_TIMEOUT, MariaDB
    case 3024: // ER_QUERY_TIMEOUT
    case 3572: // ER_LOCK_NOWAIT
        return error_class::timeout;
    case 1317: // ER_QUERY_INTERRUPTED
        return error_class::cancelled;
    default: return error_class::other;
    }
}

/// What a statement that failed with this number met.
[[nodiscard]] constexpr condition condition_of(unsigned code) noexcept {
    switch (code) {
    case 1022: // ER_DUP_KEY
    case 1062: // ER_DUP_ENTRY
    case 1169: // ER_DUP_UNIQUE
    case 1557: // ER_FOREIGN_DUPLICATE_KEY
    case 1586: // ER_DUP_ENTRY_WITH_KEY_NAME
    case 1761: // ER_FOREIGN_DUPLICATE_KEY_WITH_CHILD_INFO, …WITHOUT…
    case 1762:
    case 1859: // ER_DUP_UNKNOWN_IN_INDEX
        return condition::unique_violation;
    case 1216: // ER_NO_REFERENCED_ROW
    case 1217: // ER_ROW_IS_REFERENCED
    case 1451: // ER_ROW_IS_REFERENCED_2
    case 1452: // ER_NO_REFERENCED_ROW_2
        return condition::foreign_key_violation;
    case 1048: // ER_BAD_NULL_ERROR
    case 1263: // ER_WARN_NULL_TO_NOTNULL
    case 1364: // ER_NO_DEFAULT_FOR_FIELD
        return condition::not_null_violation;
    case 3819: // ER_CHECK_CONSTRAINT_VIOLATED
    case 4025: // ER_CONSTRAINT_FAILED
        return condition::check_violation;
    case 1213: // ER_LOCK_DEADLOCK
    case 1614: // ER_XA_RBDEADLOCK
        return condition::deadlock;
    case 1020: // ER_CHECKREAD
    case 3101: // ER_TRANSACTION_ROLLBACK_DURING_COMMIT
        return condition::serialization_failure;
    case 1205: // ER_LOCK_WAIT_TIMEOUT
    case 1613: // ER_XA_RBTIMEOUT
    case 3572: // ER_LOCK_NOWAIT
        return condition::lock_timeout;
    case 1969: // ER_STATEMENT_TIMEOUT, MariaDB
    case 3024: // ER_QUERY_TIMEOUT
        return condition::statement_timeout;
    case 1317: // ER_QUERY_INTERRUPTED
        return condition::cancelled;
    case 1290: // ER_OPTION_PREVENTS_STATEMENT: read_only
    case 1792: // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
    case 1836: // ER_READ_ONLY_MODE
    case 1874: // ER_INNODB_READ_ONLY
        return condition::read_only;
    case 1044: // ER_DBACCESS_DENIED_ERROR
    case 1045: // ER_ACCESS_DENIED_ERROR
    case 1142: // ER_TABLEACCESS_DENIED_ERROR
    case 1143: // ER_COLUMNACCESS_DENIED_ERROR
    case 1227: // ER_SPECIFIC_ACCESS_DENIED_ERROR
    case 1370: // ER_PROCACCESS_DENIED_ERROR
        return condition::permission_denied;
    case 1064: // ER_PARSE_ERROR
    case 1065: // ER_EMPTY_QUERY
    case 1149: // ER_SYNTAX_ERROR
        return condition::syntax_error;
    case 1049: // ER_BAD_DB_ERROR
    case 1051: // ER_BAD_TABLE_ERROR
    case 1054: // ER_BAD_FIELD_ERROR
    case 1091: // ER_CANT_DROP_FIELD_OR_KEY
    case 1109: // ER_UNKNOWN_TABLE
    case 1146: // ER_NO_SUCH_TABLE
    case 1193: // ER_UNKNOWN_SYSTEM_VARIABLE
    case 1305: // ER_SP_DOES_NOT_EXIST
    case 1630: // ER_FUNC_INEXISTENT_NAME_COLLISION
        return condition::undefined_object;
    case 1007: // ER_DB_CREATE_EXISTS
    case 1050: // ER_TABLE_EXISTS_ERROR
    case 1060: // ER_DUP_FIELDNAME
    case 1061: // ER_DUP_KEYNAME
    case 1304: // ER_SP_ALREADY_EXISTS
        return condition::duplicate_object;
    case 1264: // ER_WARN_DATA_OUT_OF_RANGE
    case 1265: // WARN_DATA_TRUNCATED
    case 1292: // ER_TRUNCATED_WRONG_VALUE
    case 1365: // ER_DIVISION_BY_ZERO
    case 1366: // ER_TRUNCATED_WRONG_VALUE_FOR_FIELD
    case 1367: // ER_ILLEGAL_VALUE_FOR_TYPE
    case 1406: // ER_DATA_TOO_LONG
    case 1411: // ER_WRONG_VALUE_FOR_TYPE
    case 1690: // ER_DATA_OUT_OF_RANGE
    case 3140: // ER_INVALID_JSON_TEXT
    case 4038: // ER_JSON_SYNTAX, MariaDB
        return condition::data_error;
    default: return class_of(code) == error_class::disconnected ? condition::disconnected : condition::none;
    }
}

/// Whether the connection that met this error is of no more use.
[[nodiscard]] constexpr bool is_fatal(unsigned code) noexcept {
    const error_class c = class_of(code);
    return c == error_class::disconnected || c == error_class::refused || code == 2000 || code == 2008; // CR_UNKNOWN_ERROR, CR_OUT_OF_MEMORY
}

} // namespace cenote::drivers::mysql_client
