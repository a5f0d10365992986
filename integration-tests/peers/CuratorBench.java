import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.curator.x.discovery.ServiceCache;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceProvider;
import org.apache.curator.x.discovery.details.ServiceCacheListener;
import org.apache.curator.x.discovery.strategies.RandomStrategy;
import org.apache.curator.x.discovery.strategies.RoundRobinStrategy;

/**
 * Apache Curator as a contestant of the benchmarks: first it says what it is, then it does what each line says and
 * answers it with one. Times are nanoseconds, taken here. It ends with its input, or with the first thing that fails.
 *
 * <pre>
 * clock                the time now, on the clock of all times here
 * open CONNECT MILLIS  opens a session of MILLIS and a ServiceDiscovery; one at a time
 * register COUNT       registers COUNT instances, one after the other as the API is: how long that took
 * reconnected TIMES    waits until it was connected again TIMES times
 * watch                starts a ServiceCache: how long until it was populated, and with how many instances
 * shows COUNT          waits until the cache's listener is called with COUNT instances in the cache: at which time it was
 * provide STRATEGY     starts a ServiceProvider, random or round-robin, and picks until that is compiled
 * pick                 picks for a while: how long one pick took
 * close                closes all of it
 * </pre>
 */
public class CuratorBench {
    private static final String SERVICE = "time";
    /** How long is picked before it counts, and when it counts. */
    private static final long WARM_UP = 1_000_000_000L;
    private static final long PICKING = 200_000_000L;

    public static void main(String[] args) {
        try {
            say(name());
            BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
            CuratorBench bench = null;
            for (String line = input.readLine(); line != null; line = input.readLine()) {
                String[] words = line.split(" ");
                if (words[0].equals("clock")) {
                    say(System.nanoTime());
                } else if (words[0].equals("open")) {
                    bench = new CuratorBench(words[1], Integer.parseInt(words[2]));
                    say("open");
                } else {
                    say(bench.run(words[0], words.length > 1 ? words[1] : ""));
                }
            }
            System.exit(0);
        } catch (Throwable failed) {
            failed.printStackTrace();
            System.exit(1); // Curator's threads would keep a half of it alive
        }
    }

    private static void say(Object line) {
        System.out.println(line);
    }

    private static String name() throws IOException {
        Properties jar = new Properties();
        try (InputStream text = ServiceDiscovery.class.getResourceAsStream(
            "/META-INF/maven/org.apache.curator/curator-x-discovery/pom.properties")) {
            jar.load(text);
        }
        return "Curator " + jar.getProperty("version") + ", Java " + Runtime.version().feature();
    }

    private final CuratorFramework client;
    private final ServiceDiscovery<Void> discovery;
    private ServiceCache<Void> cache;
    private ServiceProvider<Void> provider;
    /** Guarded by this. */
    private int reconnections;
    private int shown = -1;
    private long shownAt;

    private CuratorBench(String connect, int sessionMillis) throws Exception {
        // Retries as in Curator's own introduction.
        client = CuratorFrameworkFactory.newClient(connect, sessionMillis, sessionMillis,
            new ExponentialBackoffRetry(1000, 3));
        CountDownLatch connected = new CountDownLatch(1);
        client.getConnectionStateListenable().addListener((ignored, state) -> {
            if (state == ConnectionState.CONNECTED) {
                connected.countDown();
            } else if (state == ConnectionState.RECONNECTED) {
                reconnected();
            }
        });
        client.start();
        // A ServiceDiscovery that hears of this deletes and creates whatever it has registered meanwhile.
        connected.await();
        discovery = ServiceDiscoveryBuilder.builder(Void.class).client(client).basePath("/services").build();
        discovery.start();
    }

    private Object run(String word, String argument) throws Exception {
        switch (word) {
            case "register":
                return register(Integer.parseInt(argument));
            case "reconnected":
                return awaitReconnections(Integer.parseInt(argument));
            case "watch":
                return watch();
            case "shows":
                return awaitShown(Integer.parseInt(argument));
            case "provide":
                return provide(argument);
            case "pick":
                return pick(PICKING);
            case "close":
                return close();
            default:
                throw new IllegalArgumentException(word);
        }
    }

    private long register(int count) throws Exception {
        List<ServiceInstance<Void>> instances = new ArrayList<>();
        for (int port = 10_000; port < 10_000 + count; port++) {
            instances.add(ServiceInstance.<Void>builder().name(SERVICE).id("10.0.0.1:" + port)
                .address("10.0.0.1").port(port).build());
        }
        long start = System.nanoTime();
        for (ServiceInstance<Void> instance : instances) {
            discovery.registerService(instance);
        }
        return System.nanoTime() - start;
    }

    private synchronized void reconnected() {
        reconnections++;
        notifyAll();
    }

    private synchronized String awaitReconnections(int times) throws InterruptedException {
        while (reconnections < times) {
            wait();
        }
        return "reconnected";
    }

    private String watch() throws Exception {
        cache = discovery.serviceCacheBuilder().name(SERVICE).build();
        long start = System.nanoTime();
        cache.start();
        long took = System.nanoTime() - start;
        cache.addListener(new ServiceCacheListener() {
            @Override
            public void cacheChanged() {
                long at = System.nanoTime(); // first: counting copies the list
                shown(cache.getInstances().size(), at);
            }

            @Override
            public void stateChanged(CuratorFramework ignored, ConnectionState state) {
            }
        });
        return took + " " + cache.getInstances().size();
    }

    private synchronized void shown(int count, long at) {
        shown = count;
        shownAt = at;
        notifyAll();
    }

    private synchronized long awaitShown(int count) throws InterruptedException {
        while (shown != count) {
            wait();
        }
        return shownAt;
    }

    private String provide(String strategy) throws Exception {
        provider = discovery.serviceProviderBuilder().serviceName(SERVICE)
            .providerStrategy(strategy.equals("random") ? new RandomStrategy<>() : new RoundRobinStrategy<>()).build();
        provider.start();
        pick(WARM_UP);
        return "provided";
    }

    private double pick(long nanos) throws Exception {
        long calls = 0;
        long took = 0;
        long start = System.nanoTime();
        while (took < nanos) {
            for (int n = 0; n < 100; n++) {
                if (provider.getInstance() == null) {
                    throw new IllegalStateException("there are instances");
                }
            }
            calls += 100;
            took = System.nanoTime() - start;
        }
        return (double) took / calls;
    }

    private String close() throws Exception {
        if (provider != null) {
            provider.close();
        }
        if (cache != null) {
            cache.close();
        }
        client.close(); // takes what is registered with it; discovery.close() would do so one by one
        return "closed";
    }
}
