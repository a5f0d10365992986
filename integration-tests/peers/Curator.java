import java.util.List;
import java.util.TreeSet;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.RetryOneTime;
import org.apache.curator.x.discovery.ServiceCache;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceProvider;

/**
 * Apache Curator as a peer of the tests. It runs until it is killed.
 *
 * <pre>
 * register CONNECT BASE SERVICE ID HOST PORT   registers, says "registered"
 * watch    CONNECT BASE SERVICE                says what its ServiceCache, its ServiceProvider and a query show, after
 *                                              each change: "cache [id=host:port enabled ...]", "provider [id ...]"
 * </pre>
 */
public class Curator {
    public static void main(String[] args) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.newClient(args[1], 4000, 4000, new RetryOneTime(100));
        client.start();
        ServiceDiscoveryBuilder<Void> builder =
            ServiceDiscoveryBuilder.builder(Void.class).client(client).basePath(args[2]);
        if (args[0].equals("register")) {
            builder.thisInstance(ServiceInstance.<Void>builder().name(args[3]).id(args[4]).address(args[5])
                .port(Integer.parseInt(args[6])).build());
        }
        ServiceDiscovery<Void> discovery = builder.build();
        discovery.start();
        if (args[0].equals("register")) {
            System.out.println("registered");
            Thread.sleep(Long.MAX_VALUE);
        }
        watch(discovery, args[3]);
    }

    private static void watch(ServiceDiscovery<Void> discovery, String service) throws Exception {
        ServiceCache<Void> cache = discovery.serviceCacheBuilder().name(service).build();
        cache.start();
        ServiceProvider<Void> provider = discovery.serviceProviderBuilder().serviceName(service).build();
        provider.start();
        String said = "";
        while (true) {
            TreeSet<String> provided = new TreeSet<>();
            for (ServiceInstance<Void> instance : provider.getAllInstances()) {
                provided.add(instance.getId());
            }
            ServiceInstance<Void> picked = provider.getInstance();
            String now = "cache " + show(cache.getInstances())
                + "\nquery " + show(List.copyOf(discovery.queryForInstances(service)))
                + "\nprovider " + provided
                + "\npicks " + (picked != null);
            if (!now.equals(said)) {
                System.out.println(now);
                said = now;
            }
            Thread.sleep(10);
        }
    }

    private static String show(List<ServiceInstance<Void>> instances) {
        TreeSet<String> shown = new TreeSet<>();
        for (ServiceInstance<Void> instance : instances) {
            shown.add(instance.getId() + "=" + instance.getAddress() + ":" + instance.getPort()
                + (instance.isEnabled() ? " enabled" : " disabled"));
        }
        return shown.toString();
    }
}
