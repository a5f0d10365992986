//! `zkr web`: over HTTP, and in a real browser.

use integration_tests::chromium::Chromium;
use integration_tests::fair_time::within;
use integration_tests::proxy::Proxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

/// The page of a running `zkr web`: its address, and the token behind the `#`.
async fn page(run: &RunningProgram) -> (String, String) {
    let line: Value = serde_json::from_str(&run.says("http://", SOON).await.text).unwrap();
    let url = line["url"].as_str().unwrap();
    let (address, token) = url.split_once("/#token=").unwrap_or_else(|| (url.trim_end_matches('/'), ""));
    (address.trim_start_matches("http://").to_owned(), token.to_owned())
}

/// Sends a request with these lines, and reads the answer to its end.
async fn ask(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!("{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    timeout(SOON, stream.read_to_end(&mut reply)).await.expect("an answer").unwrap();
    String::from_utf8(reply).unwrap()
}

#[tokio::test]
async fn the_page_is_whole_without_script_and_answers_this_machine_alone() {
    let world = World::new(2).await;
    let run = world.start("web time --listen 127.0.0.1:0");
    let (address, token) = page(&run).await;
    assert_eq!(token, "");
    let id = world.address(0).to_string();
    eventually(SOON, "the first view", async || {
        ask(&address, &format!("GET / HTTP/1.1\r\nHost: {address}"), "")
            .await
            .contains(&format!("<td>{id}<td>up"))
    })
    .await;
    let filtered = ask(&address, &format!("GET /?filter=none HTTP/1.1\r\nHost: {address}"), "").await;
    assert!(filtered.contains("0 of 2") && !filtered.contains(&format!("<td>{id}")), "{filtered}");
    assert!(filtered.contains("content-security-policy: default-src 'none'"), "{filtered}");
    for (head, status) in [
        ("GET / HTTP/1.1\r\nHost: evil.example", "421"),
        ("GET / HTTP/1.1", "421"),
        ("GET /events HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example", "403"),
        ("POST / HTTP/1.1\r\nHost: localhost", "405"),
        ("GET /change HTTP/1.1\r\nHost: localhost", "405"),
        ("GET /etc/passwd HTTP/1.1\r\nHost: localhost", "404"),
        ("POST /change HTTP/1.1\r\nHost: localhost\r\nzkr-token: ", "403"),
    ] {
        let answer = ask(&address, head, "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {answer}");
    }
    run.signal(Signal::SIGTERM);
    ends_with(&run, 0).await;
}

#[tokio::test]
async fn a_change_needs_the_token_and_is_refused_when_it_is_based_on_old_news() {
    let world = World::new(1).await;
    let run = world.start("web --write --listen 127.0.0.1:0");
    let (address, token) = page(&run).await;
    assert_eq!(token.len(), 32);
    let id = world.address(0);
    let shown = world.raw.get(&format!("/services/time/{id}")).await.unwrap().unwrap().1.mzxid;
    let change = async |headers: &str, shown: i64, wish: &str| {
        let body = format!(r#"{{"service":"time","id":"{id}","shown":"{shown}","wish":"{wish}"}}"#);
        ask(&address, &format!("POST /change HTTP/1.1\r\nHost: {address}\r\n{headers}"), &body).await
    };
    let evil = format!("zkr-token: {token}\r\nOrigin: http://evil.example");
    for headers in ["x: y", "zkr-token: 0", &evil] {
        assert!(change(headers, shown, "drain").await.starts_with("HTTP/1.1 403"), "{headers}");
    }
    assert!(!world.record(id).await.contains("draining"));
    let headers = format!("zkr-token: {token}\r\nOrigin: http://{address}");
    let drained = change(&headers, shown, "drain").await;
    assert!(drained.starts_with("HTTP/1.1 200") && drained.contains("up -> draining"), "{drained}");
    assert!(world.record(id).await.contains(r#""status":"draining""#));
    let old = change(&headers, shown, "undrain").await;
    assert!(old.starts_with("HTTP/1.1 409") && old.contains("look again"), "{old}");
    assert!(change(&headers, shown, "nonsense").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn it_ends_with_what_happened() {
    let world = World::new(1).await;
    assert!(world.refused("web --listen 0.0.0.0:0", 2).await.contains("loopback"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let said = world.refused(&format!("web --listen {}", taken.local_addr().unwrap()), 2).await;
    assert!(said.contains("--listen"), "{said}");
    let away = ["web", "--listen", "127.0.0.1:0", "--zookeeper", "127.0.0.1:1", "--connect-timeout", "1s"];
    ends_with(&Program::zkr().args(away).start(), 3).await;
    let to = world.chroot.connect_string();
    let words = ["web", "--listen", "127.0.0.1:0", "--zookeeper", &to];
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let full = Program::zkr().args(words).stdout_to(full).start();
    ends_with(&full, 1).await;
    assert!(full.stderr().text().contains("standard output cannot be written"), "{}", full.stderr().text());
    // A reader of the address that goes away ends it as a signal does.
    let (reader, writer) = std::io::pipe().unwrap();
    let unread = Program::zkr().args(words).stdout_to(writer).start();
    drop(reader);
    ends_with(&unread, 0).await;
}

#[tokio::test]
async fn a_browser_shows_the_fleet_and_each_change_and_survives_what_goes_away() {
    let Some(mut browser) = Chromium::start().await else { return };
    let world = World::new(3).await;
    let proxy = Proxy::to(ZooKeeper::shared().address(1)).await;
    let to = world.chroot.connect_string();
    let to = format!("{}/{}", proxy.address(), to.split_once('/').unwrap().1);
    let listen = dead().to_string();
    let words = ["web", "--write", "--listen", &listen, "--zookeeper", &to, "--session-timeout", "4s"];
    let run = Program::zkr().args(words).start();
    let (address, token) = page(&run).await;
    let (first, second) = (world.address(0).to_string(), world.address(1).to_string());
    // The first view needs no script.
    browser.disable_scripts(true).await;
    eventually(SOON, "the first view", async || {
        ask(&address, &format!("GET / HTTP/1.1\r\nHost: {address}"), "").await.contains(&first)
    })
    .await;
    browser.open(&format!("http://{address}/")).await;
    browser.shows(&first, SOON).await;
    browser.disable_scripts(false).await;
    // An address that differs behind the # alone would load nothing.
    browser.open("about:blank").await;
    browser.open(&format!("http://{address}/#token={token}")).await;
    browser.until("document.body.dataset.state === 'open' && location.hash === ''", SOON).await;
    // A change is there within a second of its acknowledgement.
    let seven = |attributes: &mut zk_registry::Attributes| attributes.weight = 7.try_into().unwrap();
    world.registrations[1].update(seven).await.unwrap();
    let shown = browser.shows("weight 1 -> 7", SOON);
    within(Duration::from_secs(1), "a change is on the page", shown).await;
    // A button asks, and changes.
    browser.evaluate("window.confirm = question => { window.asked = question; return true; }").await;
    let button = format!("document.querySelector('[data-change=drain][data-id=\"{first}\"]').click()");
    browser.evaluate(&button).await;
    browser.shows("status up -> draining", SOON).await;
    assert_eq!(browser.evaluate("window.asked").await, format!("drain {first}?"));
    assert!(world.record(world.address(0)).await.contains(r#""status":"draining""#));
    // Phones and windows, dark and light: nothing sticks out, and the colours differ.
    let mut backs = Vec::new();
    for (scheme, width, height) in
        [("light", 1200, 700), ("dark", 1200, 700), ("light", 360, 740), ("dark", 360, 740)]
    {
        browser.prefer(scheme).await;
        browser.resize(width, height).await;
        browser.until("document.documentElement.scrollWidth <= innerWidth", SOON).await;
        // A button is in sight at every size, if need be by scrolling the table.
        browser.until("document.querySelector('[data-change]').getClientRects().length > 0", SOON).await;
        backs.push(browser.evaluate("getComputedStyle(document.body).backgroundColor").await);
        if let Some(directory) = std::env::var_os("ZKR_SCREENSHOTS") {
            let file = std::path::Path::new(&directory).join(format!("web-{scheme}-{width}.png"));
            browser.photograph(&file).await;
        }
    }
    assert!(backs[0] != backs[1] && backs[0] == backs[2] && backs[1] == backs[3], "{backs:?}");
    // ZooKeeper goes and comes back: what was there stays.
    proxy.refuse().await;
    proxy.cut_rst().await;
    browser.until("document.querySelector('.state b').innerText === 'stale'", SOON).await;
    browser.shows(&second, SOON).await;
    proxy.accept().await;
    browser.until("document.querySelector('.state b').innerText === 'live'", SOON).await;
    // zkr itself goes, and another one comes.
    run.signal(Signal::SIGTERM);
    ends_with(&run, 0).await;
    browser.until("document.body.dataset.state === 'away'", SOON).await;
    browser.shows("zkr does not answer", SOON).await;
    let again = Program::zkr().args(words).start();
    page(&again).await;
    browser.until("document.body.dataset.state === 'open'", SOON).await;
    world.run(&format!("weight time {second} 9 --wait 0"), 0).await;
    browser.shows("weight 7 -> 9", SOON).await;
}

#[tokio::test]
async fn a_browser_runs_nothing_that_a_record_says() {
    let Some(mut browser) = Chromium::start().await else { return };
    let world = World::new(1).await;
    let markup = r"<img src=x onerror='window.owned=1'><script>window.owned=1</script>";
    let record = world.record(world.address(0)).await;
    let hostile = record.replace("\"metadata\":{", &format!("\"metadata\":{{\"k\":\"{markup}\","));
    let hostile = hostile.replace(",}", "}");
    world.raw.create("/services/time/hostile", hostile.as_bytes(), CreateMode::Persistent).await.unwrap();
    world
        .raw
        .create(&format!("/services/time/{}", markup.replace('/', "")), b"{", CreateMode::Persistent)
        .await
        .unwrap();
    let run = world.start("web time --listen 127.0.0.1:0");
    let (address, _) = page(&run).await;
    browser.open(&format!("http://{address}/")).await;
    browser.shows("hostile", SOON).await;
    browser.shows("1 rejected", SOON).await;
    browser.shows("<img src=x onerror", SOON).await;
    assert_eq!(
        browser.evaluate("[typeof window.owned, document.images.length]").await,
        serde_json::json!(["undefined", 0])
    );
}
