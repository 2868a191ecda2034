// Distributed under the Boost Software License, Version 1.0. See LICENSE.
import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.locks.LockSupport;

/**
 * HikariCP's turns in a benchmark that another process leads. Each line of the input asks for one window:
 *
 *   cycle THREADS SIZE MILLISECONDS          answered by: CYCLES NANOSECONDS, for each thread
 *   waits THREADS SIZE HOLD_NS MILLISECONDS  answered by: the same, then P50 P99 P99.9 MAX of the waits, in ns
 *
 * It ends when the input ends.
 */
public final class Harness {
    private static final Map<Integer, HikariDataSource> pools = new HashMap<>();
    private static volatile boolean stopped;
    private static volatile long began;

    /** Counts of waits: 32 buckets for each power of two, so a percentile is at most 3 % too high; the greatest is exact. */
    private static final class Waits {
        private static final int FINE = 5;
        private final long[] counts = new long[64 << FINE];
        private long longest;

        void add(long ns) {
            longest = Math.max(longest, ns);
            ++counts[at(Math.max(ns, 0))];
        }
        void add(Waits other) {
            longest = Math.max(longest, other.longest);
            for (int i = 0; i < counts.length; ++i) counts[i] += other.counts[i];
        }
        /** Below 2^FINE each value has its own; above, the highest bit and the FINE bits after it. */
        private static int at(long ns) {
            if (ns < 1L << FINE) return (int) ns;
            final int shift = 63 - Long.numberOfLeadingZeros(ns) - FINE;
            return ((shift + 1) << FINE) + (int) ((ns >>> shift) - (1L << FINE));
        }
        private static long upper(int at) {
            if (at < 1 << FINE) return at;
            final int shift = (at >> FINE) - 1;
            return ((long) ((1 << FINE) + (at & ((1 << FINE) - 1)) + 1) << shift) - 1;
        }
        long percentile(double p) {
            long total = 0, seen = 0;
            for (final long n : counts) total += n;
            final long wanted = (long) (p * total + 0.5);
            for (int i = 0; i < counts.length; ++i) {
                seen += counts[i];
                if (seen >= wanted && seen != 0) return Math.min(upper(i), longest);
            }
            return longest;
        }
    }

    private static HikariDataSource pool(int size) throws Exception {
        HikariDataSource pool = pools.get(size);
        if (pool != null) return pool;
        final HikariConfig config = new HikariConfig();
        config.setDataSource(new Stub.Source());
        config.setMaximumPoolSize(size);
        pool = new HikariDataSource(config);
        final Connection[] all = new Connection[size];
        for (int i = 0; i < size; ++i) all[i] = pool.getConnection();
        for (final Connection c : all) c.close();
        pools.put(size, pool);
        return pool;
    }

    /** Stopping is looked at once in so many cycles. */
    private static final int BATCH = 32;

    private static long cycles(HikariDataSource pool) throws Exception {
        long done = 0;
        for (; !stopped; done += BATCH) {
            for (int i = 0; i < BATCH; ++i) {
                try (Connection c = pool.getConnection()) {
                    c.getHoldability();
                }
            }
        }
        return done;
    }

    private static long timed(HikariDataSource pool, long holdNs, Waits waits) throws Exception {
        long done = 0;
        for (; !stopped; ++done) {
            final long asked = System.nanoTime();
            try (Connection c = pool.getConnection()) {
                waits.add(System.nanoTime() - asked);
                c.getHoldability();
                if (holdNs != 0) LockSupport.parkNanos(holdNs);
            }
        }
        return done;
    }

    private static String window(String[] words) throws Exception {
        final boolean timed = words[0].equals("waits");
        final int threads = Integer.parseInt(words[1]);
        final HikariDataSource pool = pool(Integer.parseInt(words[2]));
        final long holdNs = timed ? Long.parseLong(words[3]) : 0;
        final long milliseconds = Long.parseLong(words[words.length - 1]);
        final CyclicBarrier start = new CyclicBarrier(threads + 1, () -> began = System.nanoTime());
        final long[] done = new long[threads];
        final long[] took = new long[threads];
        final Waits[] waits = new Waits[threads];
        final Thread[] all = new Thread[threads];
        stopped = false;
        for (int t = 0; t < threads; ++t) {
            final int me = t;
            waits[me] = new Waits();
            all[me] = new Thread(() -> {
                try {
                    start.await();
                    done[me] = timed ? timed(pool, holdNs, waits[me]) : cycles(pool);
                    took[me] = System.nanoTime() - began;
                } catch (Exception e) {
                    e.printStackTrace();
                    System.exit(1);
                }
            });
            all[me].start();
        }
        start.await();
        Thread.sleep(milliseconds);
        stopped = true;
        for (final Thread t : all) t.join();
        final StringBuilder answer = new StringBuilder();
        for (int t = 0; t < threads; ++t) answer.append(done[t]).append(' ').append(took[t]).append(' ');
        if (timed) {
            for (int t = 1; t < threads; ++t) waits[0].add(waits[t]);
            for (final double p : new double[] {0.5, 0.99, 0.999}) answer.append(waits[0].percentile(p)).append(' ');
            answer.append(waits[0].longest);
        }
        return answer.toString();
    }

    public static void main(String[] arguments) throws Exception {
        final BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null;) {
            System.out.println(window(line.trim().split(" ")));
            System.out.flush();
        }
        for (final HikariDataSource pool : pools.values()) pool.close();
    }
}
