# Throw-away servers in a folder of their own, for tests/lib/with_servers: PostgreSQL with a hot standby, and MariaDB.
#
#   servers_start <postgres|mysql>...   starts them and exports what tests/server/support/environment.hpp reads; says why if it cannot
#   servers_stop                        ends them, by the process ids they were started with, and removes the folder
#
# Nothing is shared with a server of the system: ports are free ones of 127.0.0.1, and the sockets and data lie in folders that only the
# servers' own user (and root) may enter, since whoever reaches these sockets needs no password. As root, PostgreSQL runs as postgres and
# MariaDB as mysql, or as nobody where no package has created that user; otherwise they run as the caller.
# shellcheck shell=bash

servers_folder=
servers_pids=()
servers_creating=

# The folder with pg_ctl, which Debian keeps off the PATH; the newest if there are several.
postgres_bin() {
    local folder
    for folder in $(compgen -G '/usr/lib/postgresql/*/bin' | sort -rV) $(dirname "$(command -v initdb || echo /none)"); do
        if [[ -x $folder/initdb && -x $folder/postgres ]]; then
            echo "$folder"
            return 0
        fi
    done
    return 1
}
mariadb_server() { PATH=$PATH:/usr/sbin:/usr/libexec command -v mariadbd; }

servers_start() {
    # The caller's own settings would change what the client libraries do.
    unset "${!PG@}" "${!MYSQL_@}"
    servers_folder=$(mktemp -d /tmp/cenote-XXXXXX) # not TMPDIR, which may be private or long: a socket's path has 107 bytes
    chmod 755 "$servers_folder"
    servers_make_certificates >"$servers_folder/openssl.log" 2>&1 || servers_failed "no certificates" "$servers_folder/openssl.log" || return
    if [[ " $* " == *' mysql '* ]]; then # the slowest part beside everything else
        servers_folder_of mysql && servers_create_mysql &
        servers_creating=$!
    fi
    if [[ " $* " == *' postgres '* ]]; then servers_start_postgres || return; fi
    if [[ " $* " == *' mysql '* ]]; then
        wait "$servers_creating" || servers_failed "MariaDB could not be set up" "$servers_folder/mysql/log" || return
        servers_start_mysql || return
    fi
}

servers_stop() {
    local pid file round
    [[ $servers_folder ]] || return 0
    [[ -z $servers_creating ]] || wait "$servers_creating"
    for file in "$servers_folder"/postgres/*/postmaster.pid "$servers_folder"/mysql/pid; do # a test may have started one anew
        if [[ -e $file ]]; then servers_pids+=("$(head -n 1 "$file")"); fi
    done
    # At once, without a checkpoint; and a test may have left one stopped.
    for pid in "${servers_pids[@]}"; do
        if servers_lives "$pid"; then kill -QUIT "$pid" && kill -CONT "$pid"; fi
    done
    for pid in "${servers_pids[@]}"; do
        for ((round = 0; round < 100; ++round)); do
            servers_lives "$pid" || break
            sleep 0.1
        done
        if servers_lives "$pid"; then
            echo "a server did not end and is killed: $pid" >&2
            kill -KILL "$pid"
        fi
    done
    servers_pids=()
    rm -rf "$servers_folder"
    servers_folder=
}

# Whether the process is one of ours: the number may have become another's.
servers_lives() { [[ $(tr '\0' ' ' <"/proc/$1/cmdline") == *"$servers_folder/"* ]]; } 2>/dev/null

servers_failed() { # servers_failed <what> <log>
    echo "$1; the last words of $(basename "$(dirname "$2")"):"
    tail -n 30 "$2" 2>/dev/null
    return 1
} >&2

servers_owner() { # servers_owner <server>
    case $1 in
    postgres) echo postgres ;;
    mysql) if id mysql >/dev/null 2>&1; then echo mysql; else echo nobody; fi ;;
    esac
}

# Runs a command as the user who owns a server; as root, PostgreSQL would not start.
as_owner() { # as_owner <server> <command>...
    local user
    user=$(servers_owner "$1")
    shift
    if ((EUID == 0)); then setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups "$@"; else "$@"; fi
}

# Starts a server that ends with this shell, however this shell ends.
as_server() { # as_server <server> <log> <command>...
    local user log=$2
    user=$(servers_owner "$1")
    shift 2
    if ((EUID == 0)); then set -- --reuid "$user" --regid "$(id -g "$user")" --init-groups "$@"; fi
    setsid setpriv --pdeathsig QUIT "$@" >>"$log" 2>&1 </dev/null &
    servers_pids+=("$!")
}

# Leaves a script with which a test starts a server anew that it has killed. Such a server goes on when the test ends; servers_stop finds it.
servers_write_start() { # servers_write_start <script> <server> <log> <command>...
    local user script=$1 log=$3
    user=$(servers_owner "$2")
    shift 3
    if ((EUID == 0)); then set -- setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups "$@"; fi
    printf '#!/usr/bin/env bash\nexec setsid --fork%s >>%q 2>&1 </dev/null\n' "$(printf ' %q' "$@")" "$log" >"$script" && chmod 700 "$script"
}

servers_folder_of() { # servers_folder_of <server>: makes its folder, with the certificate inside
    local folder=$servers_folder/$1
    mkdir -m 700 "$folder" && cp "$servers_folder"/server.{crt,key} "$folder" && chmod 600 "$folder/server.key" || return
    if ((EUID == 0)); then chown -R "$(servers_owner "$1"):" "$folder"; fi
}

servers_make_certificates() (
    cd "$servers_folder" || exit
    umask 077
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj '/CN=cenote test CA' -keyout ca.key -out ca.crt \
        -addext 'keyUsage=critical,keyCertSign' &&
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout server.key -out server.csr &&
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out server.crt \
            -extfile <(echo 'subjectAltName=DNS:localhost,IP:127.0.0.1') &&
        chmod 644 ca.crt server.crt
)

servers_password() { od -An -N 20 -t x1 /dev/urandom | tr -d ' \n'; }

# A port that nobody listens on, from below those that the kernel gives to clients.
servers_port() {
    local port
    for _ in {1..50}; do
        port=$((20000 + RANDOM % 12000))
        if ! (: <>/dev/tcp/127.0.0.1/$port) 2>/dev/null; then
            echo "$port"
            return 0
        fi
    done
    return 1
}

# Waits until a command succeeds, for as long as the server lives.
servers_await() { # servers_await <pid> <command>...
    local pid=$1 round
    shift
    for ((round = 0; round < 600; ++round)); do
        "$@" >/dev/null 2>&1 && return 0
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}

servers_start_postgres() {
    local folder=$servers_folder/postgres bin password port standby
    bin=$(postgres_bin) || { echo "PostgreSQL's server is not installed" >&2; return 1; }
    servers_folder_of postgres || return
    local log=$folder/log primary=$folder/a replica=$folder/b admin="host=$folder user=postgres dbname=postgres"
    password=$(servers_password)
    {
        as_owner postgres "$bin/initdb" -D "$primary" -U postgres --auth=trust --no-sync --no-instructions -E UTF8 --locale=C &&
            cat >>"$primary/postgresql.conf" <<END
listen_addresses = '127.0.0.1'
unix_socket_directories = '$folder'
ssl = on
ssl_cert_file = '$folder/server.crt'
ssl_key_file = '$folder/server.key'
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = 32MB
max_connections = 200
max_wal_senders = 5
END
        cat >"$primary/pg_hba.conf" <<'END'
local all,replication all              trust
host  all             all 127.0.0.1/32 scram-sha-256
END
    } >>"$log" 2>&1 || servers_failed "PostgreSQL could not be set up" "$log" || return
    servers_start_postmaster "$bin" "$primary" "$admin" "$log" || return
    port=$postmaster_port
    export CENOTE_PG_PID=$postmaster_pid
    admin+=" port=$port"
    {
        "$bin/psql" -X -q -v ON_ERROR_STOP=1 -d "$admin" <<END &&
create role cenote login password '$password' in role pg_signal_backend;
create database cenote owner cenote;
END
            as_owner postgres "$bin/pg_basebackup" -d "$admin" -D "$replica" -R -X stream -c fast --no-sync
    } >>"$log" 2>&1 || servers_failed "PostgreSQL could not be set up" "$log" || return
    servers_start_postmaster "$bin" "$replica" "host=$folder user=postgres dbname=postgres" "$log" || return
    standby=$postmaster_port

    local who="user=cenote dbname=cenote"
    export CENOTE_PG_UNIX="host=$folder port=$port $who"
    export CENOTE_PG_TCP="host=127.0.0.1 port=$port $who password=$password sslmode=disable"
    export CENOTE_PG_TLS="host=127.0.0.1 port=$port $who password=$password sslmode=verify-ca sslrootcert=$servers_folder/ca.crt"
    export CENOTE_PG_STANDBY="host=127.0.0.1 port=$standby $who password=$password sslmode=disable"
    servers_write_start "$folder/start" postgres "$log" "$bin/postgres" -D "$primary" || return
    servers_start_pgbouncer "$port" || return
    export CENOTE_PG_START=$folder/start CENOTE_PG_ADMIN=$admin CENOTE_PG_PASSWORD=$password CENOTE_PG_PORT=$port CENOTE_PG_BIN=$bin CENOTE_PG_DATA=$primary
}

# A pooler in between, where there is one here (it leaves QUIT as it finds it, which a shell has ignored): the database cenote_shared in its transaction mode, cenote_whole in session mode.
servers_start_pgbouncer() { # servers_start_pgbouncer <PostgreSQL's port>
    local folder=$servers_folder/postgres program port pid
    program=$(PATH=$PATH:/usr/sbin command -v pgbouncer) || return 0
    for _ in 1 2 3; do
        port=$(servers_port) || return
        cat >"$folder/pgbouncer.ini" <<END
[databases]
cenote_shared = host=$folder port=$1 dbname=cenote user=cenote pool_mode=transaction
cenote_whole = host=$folder port=$1 dbname=cenote user=cenote pool_mode=session
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
auth_type = trust
auth_file = $folder/pgbouncer.users
logfile = $folder/pgbouncer.log
END
        echo '"cenote" ""' >"$folder/pgbouncer.users"
        if ((EUID == 0)); then chown "$(servers_owner postgres):" "$folder"/pgbouncer.*; fi
        as_server postgres "$folder/log" env --default-signal=QUIT "$program" -q "$folder/pgbouncer.ini"
        pid=${servers_pids[-1]}
        disown "$pid" # or the shell tells of its end
        if servers_await "$pid" "$bin/psql" -X -d "host=127.0.0.1 port=$port user=cenote dbname=cenote_whole" -c 'select 1'; then
            export CENOTE_PG_BOUNCER="host=127.0.0.1 port=$port user=cenote sslmode=disable"
            return 0
        fi
    done
    servers_failed "PgBouncer did not start" "$folder/log"
}

# Sets postmaster_port and postmaster_pid. Somebody may take the port in between: then another.
servers_start_postmaster() { # servers_start_postmaster <bin> <data> <conninfo> <log>
    for _ in 1 2 3; do
        postmaster_port=$(servers_port) || return
        echo "port = $postmaster_port" >>"$2/postgresql.conf"
        as_server postgres "$4" "$1/postgres" -D "$2"
        postmaster_pid=${servers_pids[-1]}
        if servers_await "$postmaster_pid" "$1/psql" -X -d "$3 port=$postmaster_port" -c 'select 1'; then return 0; fi
    done
    servers_failed "PostgreSQL did not start" "$4"
}

servers_create_mysql() {
    local folder=$servers_folder/mysql
    as_owner mysql mariadb-install-db --no-defaults --datadir="$folder/data" --auth-root-authentication-method=normal --skip-test-db \
        --skip-name-resolve --innodb-log-file-size=8M >"$folder/log" 2>&1
}

servers_start_mysql() {
    local folder=$servers_folder/mysql server password port='' pid='' command=()
    server=$(mariadb_server) || { echo "MariaDB's server is not installed" >&2; return 1; }
    local log=$folder/log client=(mariadb --no-defaults --user=root --socket="$folder/socket")
    password=$(servers_password)
    for _ in 1 2 3; do # somebody may take the port in between: then another
        port=$(servers_port) || return
        command=("$server" --no-defaults --datadir="$folder/data" --socket="$folder/socket" --pid-file="$folder/pid"
            --tmpdir="$folder" --bind-address=127.0.0.1 --port="$port" --ssl-ca="$servers_folder/ca.crt" --ssl-cert="$folder/server.crt"
            --ssl-key="$folder/server.key" --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=OFF --innodb-buffer-pool-size=32M
            --performance-schema=OFF --skip-name-resolve --max-connections=200)
        as_server mysql "$log" "${command[@]}"
        pid=${servers_pids[-1]}
        if servers_await "$pid" "${client[@]}" -e 'select 1'; then break; fi
        pid=
    done
    [[ $pid ]] || servers_failed "MariaDB did not start" "$log" || return
    "${client[@]}" >>"$log" 2>&1 <<END || servers_failed "MariaDB could not be set up" "$log" || return
delete from mysql.global_priv where user = 'root' and host <> 'localhost';
flush privileges;
create database cenote;
create database cenote_other;
create user cenote@'%' identified by '$password';
grant all on cenote.* to cenote@'%';
grant all on cenote_other.* to cenote@'%';
END
    servers_write_start "$folder/start" mysql "$log" "${command[@]}" || return
    export CENOTE_MYSQL_START=$folder/start CENOTE_MYSQL_PIDFILE=$folder/pid CENOTE_MYSQL_SOCKET=$folder/socket CENOTE_MYSQL_PORT=$port CENOTE_MYSQL_USER=cenote CENOTE_MYSQL_PASSWORD=$password
    export CENOTE_MYSQL_DB=cenote CENOTE_MYSQL_CA=$servers_folder/ca.crt CENOTE_MYSQL_PID=$pid
}
