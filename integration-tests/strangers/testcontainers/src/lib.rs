//! The part of an interface that the tests of zookeeper-client use: a "container" is a process, started as `java` with the
//! configuration and the flags that the image would have got.

use std::fs;
use std::io::Write;
use std::marker::PhantomData;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub mod clients {
    use super::core::{Container, RunnableImage};

    #[derive(Default)]
    pub struct Cli;

    impl Cli {
        pub fn run<I>(&self, image: impl Into<RunnableImage<I>>) -> Container<'_, I> {
            Container::start_new(image.into())
        }
    }
}

pub mod images {
    pub mod generic {
        use crate::core::{Healthcheck, RunnableImage, WaitFor};

        pub struct GenericImage(Vec<(String, String)>);

        impl GenericImage {
            pub fn new(_: &str, _: &str) -> Self {
                Self(Vec::new())
            }

            pub fn with_env_var(mut self, name: &str, value: impl Into<String>) -> Self {
                self.0.push((name.to_owned(), value.into()));
                self
            }

            pub fn with_healthcheck(self, _: Healthcheck) -> Self {
                self
            }

            pub fn with_wait_for(self, _: WaitFor) -> Self {
                self
            }
        }

        impl From<GenericImage> for RunnableImage<GenericImage> {
            fn from(image: GenericImage) -> Self {
                let flags = image.0.into_iter().find(|(name, _)| name == "SERVER_JVMFLAGS");
                Self::new(flags.map(|(_, flags)| flags).unwrap_or_default())
            }
        }
    }
}

pub mod core {
    use super::*;

    #[derive(Default)]
    pub struct Healthcheck;

    impl Healthcheck {
        pub fn with_cmd<T>(self, _: impl Iterator<Item = T>) -> Self {
            self
        }

        pub fn with_interval(self, _: Duration) -> Self {
            self
        }

        pub fn with_retries(self, _: u32) -> Self {
            self
        }
    }

    pub enum WaitFor {
        Healthcheck,
    }

    pub struct RunnableImage<I> {
        flags: String,
        /// Files of the host, and where the image would see them.
        volumes: Vec<(String, String)>,
        image: PhantomData<I>,
    }

    impl<I> RunnableImage<I> {
        pub(crate) fn new(flags: String) -> Self {
            Self { flags, volumes: Vec::new(), image: PhantomData }
        }

        pub fn with_volume(mut self, (source, place): (&str, &str)) -> Self {
            self.volumes.push((source.to_owned(), place.to_owned()));
            self
        }

        pub fn with_network(self, _: impl Into<String>) -> Self {
            self
        }
    }

    pub struct Container<'d, I> {
        port: u16,
        flags: String,
        directory: tempfile::TempDir,
        process: Mutex<Option<Child>>,
        of: PhantomData<(&'d (), I)>,
    }

    impl<I> Container<'_, I> {
        pub(crate) fn start_new(image: RunnableImage<I>) -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
            let mut flags = image.flags;
            let mut configuration = format!("dataDir={}\ntickTime=2000\nmaxClientCnxns=0\n", directory.path().display());
            for (source, place) in &image.volumes {
                flags = flags.replace(place, source);
                if place.ends_with("zoo.cfg") {
                    let lines = fs::read_to_string(source).expect("the configuration is there");
                    let own = |line: &&str| !line.starts_with("clientPort=") && !line.starts_with("dataDir=");
                    lines.lines().filter(own).for_each(|line| configuration += &format!("{line}\n"));
                }
            }
            configuration += &format!("clientPort={port}\nclientPortAddress=127.0.0.1\n4lw.commands.whitelist=*\nadmin.enableServer=false\n");
            fs::write(directory.path().join("zoo.cfg"), configuration).expect("the directory is ours");
            let container = Self { port, flags, directory, process: Mutex::new(None), of: PhantomData };
            container.start();
            container
        }

        pub fn get_host_port(&self, _: u16) -> u16 {
            self.port
        }

        pub fn start(&self) {
            let configuration: PathBuf = self.directory.path().join("zoo.cfg");
            let log = fs::File::create(self.directory.path().join("log")).expect("the directory is ours");
            let process = Command::new("java")
                .args(["-cp", &std::env::var("ZOOKEEPER_CLASSPATH").expect("it is set")])
                .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
                .args(self.flags.split_whitespace())
                .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
                .arg(configuration)
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a file"))
                .stderr(log)
                .spawn()
                .expect("java starts");
            *self.process.lock().unwrap() = Some(process);
            let end = Instant::now() + Duration::from_secs(30);
            while !self.serves() {
                assert!(Instant::now() < end, "no server at {}", self.port);
                sleep(Duration::from_millis(20));
            }
        }

        fn serves(&self) -> bool {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
            let asked = stream.write_all(b"srvr");
            let answer = std::io::read_to_string(stream);
            asked.is_ok() && answer.is_ok_and(|text| text.contains("Mode:"))
        }

        pub fn stop(&self) {
            if let Some(mut process) = self.process.lock().unwrap().take() {
                let _ = process.kill();
                let _ = process.wait();
            }
        }

        pub fn stdout(&self) -> LogStream {
            LogStream
        }
    }

    impl<I> Drop for Container<'_, I> {
        fn drop(&mut self) {
            self.stop();
        }
    }

    pub struct LogStream;

    impl LogStream {
        pub fn wait_for_message(&self, _: &str) -> Result<(), String> {
            Err("no log is followed".to_owned())
        }
    }
}
