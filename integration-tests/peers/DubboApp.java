package org.apache.dubbo.registry.zookeeper;

import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.RetryOneTime;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;

/**
 * Apache Curator with a payload that has the name and the properties of Dubbo's at the level of applications: that is how Dubbo 3
 * writes, and what it reads with. It runs until it is killed.
 *
 * <pre>
 * register CONNECT BASE SERVICE HOST PORT [KEY=VALUE...]  registers with these metadata, says "registered"
 * watch    CONNECT BASE SERVICE                           says what a query shows, after each change: "query [host:port, ...]", or
 *                                                         "query lost: why" where one record costs it all of them
 * </pre>
 */
public class ZookeeperInstance {
    private String id;
    private String name;
    private Map<String, String> metadata = new TreeMap<>();

    public String getId() {
        return id;
    }

    public void setId(String id) {
        this.id = id;
    }

    public String getName() {
        return name;
    }

    public void setName(String name) {
        this.name = name;
    }

    public Map<String, String> getMetadata() {
        return metadata;
    }

    public void setMetadata(Map<String, String> metadata) {
        this.metadata = metadata;
    }

    public static void main(String[] args) throws Exception {
        // Jackson looks for the payload's class there, and a program that runs from its source has a loader of its own.
        Thread.currentThread().setContextClassLoader(ZookeeperInstance.class.getClassLoader());
        CuratorFramework client = CuratorFrameworkFactory.newClient(args[1], 4000, 4000, new RetryOneTime(100));
        client.start();
        ServiceDiscoveryBuilder<ZookeeperInstance> builder =
            ServiceDiscoveryBuilder.builder(ZookeeperInstance.class).client(client).basePath(args[2]);
        if (args[0].equals("register")) {
            String id = args[4] + ":" + args[5];
            ZookeeperInstance payload = new ZookeeperInstance();
            payload.setId(id);
            payload.setName(args[3]);
            for (int n = 6; n < args.length; n++) {
                String[] pair = args[n].split("=", 2);
                payload.getMetadata().put(pair[0], pair[1]);
            }
            builder.thisInstance(ServiceInstance.<ZookeeperInstance>builder().name(args[3]).id(id).address(args[4])
                .port(Integer.parseInt(args[5])).payload(payload).build());
        }
        ServiceDiscovery<ZookeeperInstance> discovery = builder.build();
        discovery.start();
        if (args[0].equals("register")) {
            System.out.println("registered");
            Thread.sleep(Long.MAX_VALUE);
        }
        String said = "";
        while (true) {
            String now = query(discovery, args[3]);
            if (!now.equals(said)) {
                System.out.println(now);
                said = now;
            }
            Thread.sleep(10);
        }
    }

    private static String query(ServiceDiscovery<ZookeeperInstance> discovery, String service) {
        TreeSet<String> shown = new TreeSet<>();
        try {
            for (ServiceInstance<ZookeeperInstance> instance : discovery.queryForInstances(service)) {
                shown.add(instance.getAddress() + ":" + instance.getPort());
            }
        } catch (Exception lost) {
            return "query lost: " + lost.getClass().getSimpleName();
        }
        return "query " + shown;
    }
}
