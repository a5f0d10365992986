package org.springframework.cloud.zookeeper.discovery;

import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.RetryOneTime;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.UriSpec;

/**
 * Apache Curator with a payload that has the name and the properties of Spring Cloud Zookeeper's: that is how Spring reads and
 * writes. It runs until it is killed.
 *
 * <pre>
 * register CONNECT BASE SERVICE ID HOST PORT STATUS   registers, says "registered"
 * watch    CONNECT BASE SERVICE                       says what a query shows, after each change: "query [uri {metadata}, ...]"
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
            ZookeeperInstance payload = new ZookeeperInstance();
            payload.setId(args[3] + "-1");
            payload.setName(args[3]);
            payload.getMetadata().put("instance_status", args[7]);
            builder.thisInstance(ServiceInstance.<ZookeeperInstance>builder().name(args[3]).id(args[4]).address(args[5])
                .port(Integer.parseInt(args[6])).payload(payload)
                .uriSpec(new UriSpec("{scheme}://{address}:{port}")).build());
        }
        ServiceDiscovery<ZookeeperInstance> discovery = builder.build();
        discovery.start();
        if (args[0].equals("register")) {
            System.out.println("registered");
            Thread.sleep(Long.MAX_VALUE);
        }
        String said = "";
        while (true) {
            TreeSet<String> shown = new TreeSet<>();
            for (ServiceInstance<ZookeeperInstance> instance : discovery.queryForInstances(args[3])) {
                shown.add(instance.buildUriSpec() + " " + new TreeMap<>(instance.getPayload().getMetadata()));
            }
            String now = "query " + shown;
            if (!now.equals(said)) {
                System.out.println(now);
                said = now;
            }
            Thread.sleep(10);
        }
    }
}
