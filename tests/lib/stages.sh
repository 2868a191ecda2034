# What the stages of tests/run have in common: building, counting, showing what went wrong.
# Expects from its caller: build, jobs, catch2_prefix, CXX_GCC, CXX_CLANG, untamed.
# shellcheck shell=bash disable=SC2154

passed=0
failed=0

# Adds to the count and says so.
count() { # count <what> <passed> <failed>
    ((passed += $2, failed += $3)) || true
    say "$1: $2 passed, $3 failed"
}

has_sources() { compgen -G "tests/$1/*.cpp" >/dev/null || [[ -n $(find "tests/$1" -name '*.cpp' -print -quit 2>/dev/null) ]]; }

# At most so much of what went wrong, set apart.
excerpt() { sed -n '1,120{s/^\(.\{300\}\).*/\1…/;s/^/    /;p}'; }

# What counts in a log: the first errors of a build, else its end.
show() { # show <log>
    { grep -m 12 -A 6 -E 'error:|FAILED:|undefined reference|CMake Error' "$1" || tail -40 "$1"; } | grep -v -E ' -o [^ ]+ -c ' | excerpt
}

configured=' '
# Builds a target of a preset; the thread sanitizer of older compilers needs memory where it expects it: setarch -R.
build_target() { # build_target <preset> <target>
    local preset=$1 target=$2 log=$build/$1-$2.log compiler=$CXX_GCC options=() tame=()
    [[ $preset == *clang ]] && compiler=$CXX_CLANG
    have ccache && options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    [[ $preset == tsan* ]] && tame=("${untamed[@]}")
    say "$target: building ($compiler, $preset)"
    if [[ $configured != *" $preset "* ]]; then
        cmake --preset "$preset" -B "$build/$preset" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_PREFIX_PATH="$catch2_prefix" \
            "${options[@]}" >"$log" 2>&1 || { show "$log"; return 1; }
        configured+="$preset "
    fi
    "${tame[@]}" cmake --build "$build/$preset" -j "$jobs" --target "$target" -- -k 0 >"$log" 2>&1 || { show "$log"; return 1; }
}

# Builds and runs the tests of one folder. One test case is one test; a build that fails is one failed test.
run_folder() { # run_folder <preset> <folder>
    if ! has_sources "$2"; then
        say "$2: nothing there yet"
    elif build_target "$1" "$2_tests"; then
        run_ctest "$1" "$2"
    else
        count "$2 ($1): does not build" 0 1
    fi
}

# Builds the tests of one folder and runs them in two processes for each processor: under a sanitizer a process takes longer to start than
# most test cases take. What crashes costs its process and counts as one failed test.
run_shards() { # run_shards <preset> <folder>
    local preset=$1 folder=$2 program=$build/$1/tests/$2_tests log=$build/$1-$2-run shards=$((2 * jobs)) i good=0 bad=0 said
    if ! build_target "$preset" "${folder}_tests"; then
        count "$folder ($preset): does not build" 0 1
        return
    fi
    for ((i = 0; i < shards; ++i)); do
        timeout 600 "$program" '~[alone]' --shard-count "$shards" --shard-index "$i" >"$log-$i.log" 2>&1 &
    done
    wait
    timeout 600 "$program" '[alone]' --allow-running-no-tests >"$log-$i.log" 2>&1 || true
    for i in $(seq 0 "$shards"); do
        said=$(tail -n 5 "$log-$i.log")
        if [[ $said =~ All\ tests\ passed\ \(.*\ in\ ([0-9]+)\ test\ case ]]; then
            ((good += BASH_REMATCH[1])) || true
        elif [[ $said =~ test\ cases:\ +([0-9]+)\ \|(\ +([0-9]+)\ passed\ \|)?\ +([0-9]+)\ failed ]]; then
            ((good += ${BASH_REMATCH[3]:-0}, bad += BASH_REMATCH[4])) || true
            grep -m 6 -A 12 'FAILED:' "$log-$i.log" | excerpt
        elif [[ $said != *'No tests ran'* ]]; then
            ((++bad))
            tail -n 60 "$log-$i.log" | excerpt
        fi
    done
    count "$folder ($preset)" "$good" "$bad"
}

# Runs the tests of a built preset that carry the label. A skipped test case counts as failed: this command brings all that a
# test could miss, the servers that those named server… and fault run beside too.
run_ctest() { # run_ctest <preset> <label>
    local log=$build/$1-$2-run.log report=$build/$1-$2.xml around=()
    [[ $2 == server* || $2 == fault ]] && around=(tests/lib/with_servers env CENOTE_REQUIRE_SERVERS=1)
    [[ $1 == tsan* ]] && around+=("${untamed[@]}")
    rm -f "$report"
    "${around[@]}" ctest --test-dir "$build/$1" -L "^$2\$" -j "$jobs" --output-on-failure --no-tests=error --output-junit "$report" \
        >"$log" 2>&1 || sed '/tests passed, .* failed out of/,$d' "$log" | grep -v -E ' Passed |^ +Start |^Internal|^Test project' | excerpt || true
    read_report "$2 ($1)" "$report"
}

# Runs a command that succeeds or not: one test.
run_command() { # run_command <command>...
    local log=$build/${1//\//-}.log
    say "$*"
    if "$@" >"$log" 2>&1; then
        count "$*" 1 0
    else
        tail -40 "$log" | excerpt
        count "$*" 0 1
    fi
}

# Adds up a JUnit report of ctest: the numbers stand in its <testsuite> element.
read_report() { # read_report <what> <report>
    local all=0 bad=0 key value
    if [[ -s $2 ]]; then
        for key in tests failures disabled skipped; do
            value=$(grep -m1 -oE "\b$key=\"[0-9]+\"" "$2" | tr -dc '0-9')
            if [[ $key == tests ]]; then all=$value; else ((bad += value)) || true; fi
        done
    fi
    ((all)) || bad=1 all=1
    count "$1" $((all - bad)) "$bad"
}

# Runs a script that checks things by itself and ends with a line "N passed, N failed".
run_script() { # run_script <what> <command>...
    local what=$1 log=$build/${1// /-}.log good bad
    shift
    say "$what"
    "$@" >"$log" 2>&1 || true
    if [[ $(tail -n 1 "$log") =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        good=${BASH_REMATCH[1]} bad=${BASH_REMATCH[2]}
        if ((bad)); then grep -v '^ok ' "$log" | sed '$d' | excerpt; fi
        count "$what" "$good" "$bad"
    else
        show "$log"
        count "$what: ended early" 0 1
    fi
}
