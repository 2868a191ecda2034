# Shared by examples/run and tests/run: what they need, and how to get it where apt-get can.
#
#   need "<what, for people>" <command that tells whether it is there> <package>...   the first package the archive has is taken
#   provide                    installs what is missing, all at once; ends the script with advice where it cannot
# Expects from its caller: build, the folder to build in; for need_postgres and need_mysql, tests/lib/servers.sh as well.
# shellcheck shell=bash disable=SC2154,SC2034

say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# The first of the named compilers that exists and is of the major version or later.
first_compiler() { # first_compiler <major> <name>...
    local least=$1 name major
    shift
    for name in "$@"; do
        have "$name" || continue
        major=$("$name" -dumpversion 2>/dev/null | cut -d. -f1)
        if [[ $major =~ ^[0-9]+$ ]] && ((major >= least)); then
            echo "$name"
            return 0
        fi
    done
    return 1
}

in_archive() { [[ -n $(apt-cache --quiet=0 show "$1" 2>/dev/null) ]]; }

gcc_names=(g++-12 g++ g++-13 g++-14 g++-15)
clang_names=(clang++-19 clang++ clang++-20 clang++-21)
has_gxx() { first_compiler 12 "${gcc_names[@]}" >/dev/null; }
# The tests want the baseline compiler itself wherever it can be had.
has_gxx_12() { have g++-12 || { has_gxx && ! { have apt-cache && in_archive g++-12; }; }; }
has_clangxx() { first_compiler 19 "${clang_names[@]}" >/dev/null; }
has_header() { # has_header <header>: asked of the compiler, which knows where to look
    "$(first_compiler 12 "${gcc_names[@]}")" -x c++ -E -include "$1" /dev/null >/dev/null 2>&1
}
has_boost() { has_header boost/hana/tuple.hpp; }
has_pgbouncer() { PATH=$PATH:/usr/sbin have pgbouncer; }
has_sqlite() { has_header sqlite3.h; }
has_sanitizers() { # clang's are a package of their own
    "$(first_compiler 19 "${clang_names[@]}")" -x c++ -fsanitize=thread -o /dev/null - <<<'int main() {}' >/dev/null 2>&1
}
has_fuzzer() { # libFuzzer comes with them
    "$(first_compiler 19 "${clang_names[@]}")" -x c++ -fsanitize=fuzzer,address -o /dev/null - \
        <<<'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, decltype(sizeof 0)) { return 0; }' >/dev/null 2>&1
}
has_pkg_config() { have pkg-config; }
has_libpq() { has_pkg_config && pkg-config --exists libpq; }
has_mysql_client() { mysql_client >/dev/null; }
has_postgres_server() { postgres_bin >/dev/null; }
has_mariadb_server() { mariadb_server >/dev/null && have mariadb-install-db; }
has_mariadb() { have mariadb; }
has_openssl() { have openssl; }
has_ninja() { have ninja; }
has_valgrind() { have valgrind; }
has_ip() { have ip; }
has_python3() { have python3 && python3 -c 'import json, statistics' >/dev/null 2>&1; } # the smallest package lacks most modules
has_relacy() { has_header relacy/relacy.hpp; }
has_cmake() { have cmake && [[ $(printf '3.23\n%s\n' "$(cmake --version | sed -n '1s/.* //p')" | sort -V | head -1) == 3.23 ]]; }

# What a program includes that needs a server, as regular expressions.
postgres_headers='cenote/drivers/postgres\.hpp|libpq-fe\.h'
mysql_headers='cenote/drivers/mysql\.hpp|(mysql/|mariadb/)?mysql\.h'

# What pkg-config calls the client library for MySQL that is here: Oracle's, or MariaDB's.
mysql_client() {
    local name
    for name in mysqlclient libmariadb mariadb; do
        if has_pkg_config && pkg-config --exists "$name"; then
            echo "$name"
            return 0
        fi
    done
    return 1
}

# What tests/lib/with_servers needs. MariaDB's server without the package that would run it as a service of the system.
need_postgres() {
    need "pkg-config" has_pkg_config pkg-config pkgconf
    need "libpq with its header" has_libpq libpq-dev
    need "PostgreSQL's server" has_postgres_server postgresql
    need "openssl" has_openssl openssl
}
need_pgbouncer() { need "PgBouncer" has_pgbouncer pgbouncer; } # for tests of what a pooler in between does
need_mysql() {
    need "pkg-config" has_pkg_config pkg-config pkgconf
    need "MariaDB's client library with its header" has_mysql_client libmariadb-dev
    need "MariaDB's server" has_mariadb_server mariadb-server-core mariadb-server
    need "MariaDB's client" has_mariadb mariadb-client-core mariadb-client
    need "openssl" has_openssl openssl
}

can_install() { have apt-get && { ((EUID == 0)) || have sudo; }; }
as_root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }
refreshed=
refresh() {
    [[ $refreshed ]] || logged as_root apt-get update
    refreshed=yes
}

wanted=()
need() { [[ ${wanted[*]} == *"|$2|"* ]] || "$2" || wanted+=("$(printf '%s|' "$1" "$2")${*:3}"); }

provide() {
    ((${#wanted[@]})) || return 0
    local entry what check packages package chosen=()
    if ! can_install; then
        echo "Missing here, and only Debian's and Ubuntu's apt-get, as root or with sudo, can install it for you:"
        for entry in "${wanted[@]}"; do
            IFS='|' read -r what check packages <<<"$entry"
            echo "  $what (Debian, Ubuntu: ${packages// / or })"
        done
        exit 1
    fi
    say "installing: $(printf '%s\n' "${wanted[@]}" | cut -d'|' -f1 | paste -sd, | sed 's/,/, /g')"
    refresh
    for entry in "${wanted[@]}"; do
        IFS='|' read -r what check packages <<<"$entry"
        for package in $packages; do
            if in_archive "$package"; then
                chosen+=("$package")
                break
            fi
        done
    done
    logged install_packages "${chosen[@]}"
    for entry in "${wanted[@]}"; do
        IFS='|' read -r what check packages <<<"$entry"
        if ! "$check"; then
            echo "Still missing after installing ${chosen[*]}: $what"
            exit 1
        fi
    done
    wanted=()
    say "installed"
}

# A server that is installed for tests must not run as a service of the system, nor PostgreSQL get a database folder for one: for as
# long as packages are installed, nothing may be started and no folder made, unless this machine has its own rule. Removes nothing.
install_packages() { # install_packages <package>...
    # shellcheck disable=SC2016 # expands as root
    as_root bash -euc '
        created=()
        trap '\''rm -f "${created[@]}"'\'' EXIT
        policy=/usr/sbin/policy-rc.d clusters=/etc/postgresql-common/createcluster.d/cenote-tests.conf
        if [[ ! -e $policy ]]; then
            created+=("$policy")
            printf "#!/bin/sh\nexit 101\n" >"$policy"
            chmod 755 "$policy"
        fi
        if [[ " $* " == *" postgresql"* ]]; then
            created+=("$clusters")
            mkdir -p "$(dirname "$clusters")"
            echo "create_main_cluster = false" >"$clusters"
        fi
        DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends --no-remove "$@"
    ' install_packages "$@"
}

# Runs a command quietly; shows the end of what it said if it fails.
logged() {
    mkdir -p "$build"
    if ! "$@" >"$build/install.log" 2>&1 </dev/null; then
        tail -20 "$build/install.log"
        echo "failed: $*"
        exit 1
    fi
}

# Catch2 3 for the tests. Debian 12 has version 2, and version 3 in its backports: that is unpacked into the build folder, from
# the archive this machine uses already and checked by apt as always; nothing changes outside. Sets catch2_prefix.
has_catch2() { has_header catch2/catch_test_macros.hpp; }
provide_catch2() {
    catch2_prefix=
    has_catch2 && return 0
    catch2_prefix=$build/catch2/root/usr
    [[ -f $catch2_prefix/include/catch2/catch_test_macros.hpp ]] && return 0
    local package
    can_install && refresh
    for package in catch2 libcatch2-dev; do
        if can_install && [[ $(apt-cache show --no-all-versions "$package" 2>/dev/null | sed -n 's/^Version: //p') == 3.* ]]; then
            catch2_prefix=
            need "Catch2 3" has_catch2 "$package"
            provide
            return 0
        fi
    done
    backported_catch2
}
backported_catch2() {
    local release archive keys='' apt
    release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    # shellcheck disable=SC2016 # $(REPO_URI) is apt's
    archive=$(have apt-get && apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $release" \
        'Component: main' 'Origin: Debian' | head -1) || true
    if [[ -z $archive ]]; then
        echo "Missing here: Catch2, version 3 (Fedora, Arch: catch2; elsewhere https://github.com/catchorg/Catch2)"
        exit 1
    fi
    say "unpacking Catch2 3 from $release-backports into the build folder"
    mkdir -p "$build/catch2/lists/partial" "$build/catch2/cache/archives/partial" "$build/catch2/root"
    [[ -r /usr/share/keyrings/debian-archive-keyring.gpg ]] && keys='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] '
    echo "deb $keys$archive $release-backports main" >"$build/catch2/sources.list"
    apt=(apt-get -o "Dir::Etc::sourcelist=$build/catch2/sources.list" -o Dir::Etc::sourceparts=-
        -o "Dir::State::lists=$build/catch2/lists" -o "Dir::Cache=$build/catch2/cache")
    logged "${apt[@]}" update
    (cd "$build/catch2" && logged "${apt[@]}" download libcatch2-dev)
    logged dpkg -x "$build"/catch2/libcatch2-dev_*.deb "$build/catch2/root"
}
