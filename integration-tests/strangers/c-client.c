/* A client of the C library, which says of each check whether it holds: `pass NAME` or `fail NAME`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

static const char *address;

/* What the watches heard, since the last look. */
static volatile int heard_type, heard_count;
static char heard_path[256];

static void watcher(zhandle_t *handle, int type, int state, const char *path, void *context) {
    (void)handle, (void)state, (void)context;
    if (type == ZOO_SESSION_EVENT)
        return;
    snprintf(heard_path, sizeof heard_path, "%s", path);
    heard_type = type;
    heard_count++;
}

static int hears(int type, const char *path) {
    for (int i = 0; i < 500 && heard_count == 0; i++)
        usleep(10000);
    int right = heard_count == 1 && heard_type == type && strcmp(heard_path, path) == 0;
    heard_count = 0;
    return right;
}

static int reaches(zhandle_t *handle, int state) {
    for (int i = 0; i < 1500; i++) {
        if (zoo_state(handle) == state)
            return 1;
        usleep(10000);
    }
    return 0;
}

static zhandle_t *client(const clientid_t *id) {
    zhandle_t *handle = zookeeper_init(address, watcher, 6000, id, NULL, 0);
    return handle && reaches(handle, ZOO_CONNECTED_STATE) ? handle : NULL;
}

static void check(const char *name, int holds) {
    printf("%s %s\n", holds ? "pass" : "fail", name);
    fflush(stdout);
}

static int contains(zhandle_t *handle, const char *path, const char *data, int version) {
    char buffer[64];
    int length = sizeof buffer;
    struct Stat stat;
    return zoo_get(handle, path, 0, buffer, &length, &stat) == ZOK && length == (int)strlen(data) &&
           memcmp(buffer, data, strlen(data)) == 0 && stat.version == version;
}

static void nodes(zhandle_t *zk) {
    char path[128];
    struct Stat stat;
    struct String_vector names;
    check("create", zoo_create(zk, "/c", "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path) == ZOK && !strcmp(path, "/c"));
    check("create_twice", zoo_create(zk, "/c", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0) == ZNODEEXISTS);
    check("create_without_parent", zoo_create(zk, "/no/c", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0) == ZNONODE);
    check("create_null_data", zoo_create(zk, "/c/null", NULL, -1, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0) == ZOK);
    check("create_sequential", zoo_create(zk, "/c/s-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE, path, sizeof path) == ZOK &&
                                   !strcmp(path, "/c/s-0000000001"));
    check("create_with_stat", zoo_create2(zk, "/c/stat", "abc", 3, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, path, sizeof path, &stat) == ZOK &&
                                  stat.dataLength == 3 && stat.ephemeralOwner == zoo_client_id(zk)->client_id);
    check("create_below_ephemeral",
          zoo_create(zk, "/c/stat/x", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0) == ZNOCHILDRENFOREPHEMERALS);
    check("create_container", zoo_create(zk, "/c/box", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER, NULL, 0) == ZOK);
    check("create_with_time_to_live", zoo_create_ttl(zk, "/c/ttl", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 60000, NULL, 0) == ZOK);
    check("get", contains(zk, "/c", "one", 0));
    check("set", zoo_set2(zk, "/c", "four", 4, 0, &stat) == ZOK && stat.version == 1 && contains(zk, "/c", "four", 1));
    check("set_old_version", zoo_set(zk, "/c", "x", 1, 0) == ZBADVERSION);
    check("exists", zoo_exists(zk, "/c", 0, &stat) == ZOK && stat.numChildren == 5 && stat.cversion == 5);
    check("exists_not", zoo_exists(zk, "/none", 0, &stat) == ZNONODE);
    check("children", zoo_get_children2(zk, "/c", 0, &names, &stat) == ZOK && names.count == 5 && stat.numChildren == 5);
    deallocate_String_vector(&names);
    check("delete_not_empty", zoo_delete(zk, "/c", -1) == ZNOTEMPTY);
    check("delete", zoo_delete(zk, "/c/null", 0) == ZOK && zoo_exists(zk, "/c/null", 0, NULL) == ZNONODE);
    check("bad_path", zoo_create(zk, "/c/", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0) == ZBADARGUMENTS);
    int length = sizeof path;
    check("configuration", zoo_getconfig(zk, 0, path, &length, &stat) == ZOK && stat.version == 0);
}

static void synced(int code, const char *value, const void *data) {
    *(volatile int *)data = code == ZOK && value && !strcmp(value, "/c") ? 1 : -1;
}

static void transactions(zhandle_t *zk) {
    zoo_op_t ops[4];
    zoo_op_result_t results[4];
    char path[64];
    struct Stat stat;
    zoo_create_op_init(&ops[0], "/c/m", "1", 1, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    zoo_set_op_init(&ops[1], "/c/m", "2", 1, 0, &stat);
    zoo_check_op_init(&ops[2], "/c/m", 1);
    zoo_delete_op_init(&ops[3], "/c/ttl", -1);
    check("multi", zoo_multi(zk, 4, ops, results) == ZOK && contains(zk, "/c/m", "2", 1) && zoo_exists(zk, "/c/ttl", 0, NULL) == ZNONODE);
    zoo_delete_op_init(&ops[0], "/c/m", -1);
    zoo_check_op_init(&ops[1], "/c/m", 7);
    zoo_delete_op_init(&ops[2], "/c/box", -1);
    check("multi_refused", zoo_multi(zk, 3, ops, results) == ZNONODE && results[0].err == ZOK && results[1].err == ZNONODE &&
                               results[2].err == ZRUNTIMEINCONSISTENCY && contains(zk, "/c/m", "2", 1));
    volatile int done = 0;
    zoo_async(zk, "/c", synced, (const void *)&done);
    for (int i = 0; i < 500 && !done; i++)
        usleep(10000);
    check("sync", done == 1);
}

static void watches(zhandle_t *zk) {
    struct String_vector names;
    char buffer[64];
    int length = sizeof buffer;
    heard_count = 0;
    zoo_wexists(zk, "/c/w", watcher, NULL, NULL);
    zoo_create(zk, "/c/w", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    check("watch_created", hears(ZOO_CREATED_EVENT, "/c/w"));
    zoo_wget(zk, "/c/w", watcher, NULL, buffer, &length, NULL);
    zoo_set(zk, "/c/w", "1", 1, -1);
    check("watch_changed", hears(ZOO_CHANGED_EVENT, "/c/w"));
    zoo_set(zk, "/c/w", "2", 1, -1);
    usleep(200000);
    check("watch_hears_once", heard_count == 0);
    if (zoo_wget_children(zk, "/c/w", watcher, NULL, &names) == ZOK)
        deallocate_String_vector(&names);
    zoo_create(zk, "/c/w/x", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    check("watch_children", hears(ZOO_CHILD_EVENT, "/c/w"));
    zoo_wexists(zk, "/c/w/x", watcher, NULL, NULL);
    check("watch_removed", zoo_remove_watches(zk, "/c/w/x", ZWATCHTYPE_DATA, watcher, NULL, 0) == ZOK);
    heard_count = 0;
    check("watch_removed_twice", zoo_remove_watches(zk, "/c/w/x", ZWATCHTYPE_DATA, watcher, NULL, 0) == ZNOWATCHER);
    zoo_wexists(zk, "/c/w/x", watcher, NULL, NULL);
    zoo_delete(zk, "/c/w/x", -1);
    check("watch_deleted", hears(ZOO_DELETED_EVENT, "/c/w/x"));
}

static void authenticated(int code, const void *data) { *(volatile int *)data = code == ZOK ? 1 : -1; }

static int log_in(zhandle_t *zk, const char *scheme, const char *text) {
    volatile int done = 0;
    zoo_add_auth(zk, scheme, text, strlen(text), authenticated, (const void *)&done);
    for (int i = 0; i < 500 && !done; i++)
        usleep(10000);
    return done == 1;
}

static void access_control(zhandle_t *zk, zhandle_t *other) {
    struct ACL_vector acl;
    struct Stat stat;
    char buffer[8];
    int length = sizeof buffer;
    check("login", log_in(zk, "digest", "user:secret"));
    check("create_owned", zoo_create(zk, "/c/own", "", 0, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0) == ZOK);
    check("get_of_another", zoo_get(other, "/c/own", 0, buffer, &length, NULL) == ZNOAUTH);
    check("acl", zoo_get_acl(zk, "/c/own", &acl, &stat) == ZOK && acl.count == 1 && !strcmp(acl.data[0].id.scheme, "digest") &&
                     !strncmp(acl.data[0].id.id, "user:", 5) && stat.aversion == 0);
    deallocate_ACL_vector(&acl);
    check("set_acl_old_version", zoo_set_acl(zk, "/c/own", 4, &ZOO_OPEN_ACL_UNSAFE) == ZBADVERSION);
    check("set_acl", zoo_set_acl(zk, "/c/own", 0, &ZOO_READ_ACL_UNSAFE) == ZOK && zoo_get(other, "/c/own", 0, buffer, &length, NULL) == ZOK &&
                         zoo_set(other, "/c/own", "", 0, -1) == ZNOAUTH);
    check("login_unknown_scheme", !log_in(other, "none", "x") && reaches(other, ZOO_AUTH_FAILED_STATE));
}

static void sessions(zhandle_t *zk, zhandle_t *mortal, zhandle_t *witness) {
    heard_count = 0;
    zoo_create(mortal, "/c/mortal", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0);
    check("watch_of_an_ephemeral", zoo_wexists(witness, "/c/mortal", watcher, NULL, NULL) == ZOK);
    check("close", zookeeper_close(mortal) == ZOK);
    check("close_ends_ephemerals", hears(ZOO_DELETED_EVENT, "/c/mortal"));
    clientid_t id = *zoo_client_id(zk);
    zhandle_t *again = client(&id);
    check("session_moves", again && zoo_client_id(again)->client_id == id.client_id && zoo_exists(again, "/c/stat", 0, NULL) == ZOK);
    id.passwd[3] ^= 1;
    zhandle_t *thief = zookeeper_init(address, watcher, 6000, &id, NULL, 0);
    check("session_wrong_password", thief && reaches(thief, ZOO_EXPIRED_SESSION_STATE));
}

int main(int argc, char **argv) {
    address = argc > 1 ? argv[1] : "127.0.0.1:2181";
    zoo_set_debug_level(0);
    zhandle_t *zk = client(NULL), *other = client(NULL);
    check("connect", zk && other);
    if (!zk || !other)
        return 1;
    nodes(zk);
    transactions(zk);
    watches(zk);
    access_control(zk, other);
    sessions(zk, client(NULL), client(NULL));
    return 0;
}
