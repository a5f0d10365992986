# What docker/image makes of a static build; the context holds that program alone.
#
#   docker run --read-only --cap-drop ALL -e ZOOKEEPER=zk1:2181,zk2:2181,zk3:2181 zk-registry/time-server:0.1.0
FROM scratch
COPY time-server /time-server
USER 65534:65534
EXPOSE 8897
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/time-server", "probe"]
ENTRYPOINT ["/time-server"]
# Bound to every address: it registers the one from which the container reaches ZooKeeper.
CMD ["--listen", "0.0.0.0:8897"]
