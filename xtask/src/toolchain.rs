//! Finds a Rust that builds for a chip: one with the target's libraries, or one with the sources to build them.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::setup;
use crate::workspace::{Workspace, finish, output};

/// Debian's current Rust, its cargo and its library sources.
const DEBIAN: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A toolchain that builds for one bare-metal target.
#[derive(Debug)]
pub(crate) struct BareMetal {
    target: String,
    toolchain: Toolchain,
    library: Library,
    /// A linker to name, where the toolchain brings none of its own.
    linker: Option<PathBuf>,
}

/// Where `core` comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Library {
    /// Installed for the target.
    Installed,
    /// Built from the toolchain's own sources.
    Sources,
}

/// A Rust on this machine, and what it has for the target.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Toolchain {
    name: String,
    cargo: PathBuf,
    /// None: the compiler this cargo finds by itself.
    rustc: Option<PathBuf>,
    version: (u32, u32),
    has_target: bool,
    has_sources: bool,
    linker: Option<PathBuf>,
}

/// What to say where there is no such toolchain.
pub(crate) fn none_for(target: &str) -> String {
    format!(
        "no Rust here builds for {target}: run `rustup target add {target}`, or on Debian \
         `sudo apt-get install {}`",
        DEBIAN.join(" ")
    )
}

impl BareMetal {
    /// The first toolchain on this machine that builds for the target: the current one before others, installed
    /// libraries before sources.
    fn find(workspace: &Workspace, target: &str) -> Option<Self> {
        let toolchains = toolchains(workspace, target);
        let linkers: Vec<PathBuf> = toolchains.iter().filter_map(|toolchain| toolchain.linker.clone()).collect();
        let (toolchain, library) = choose(toolchains)?;
        // rustc looks for its own `rust-lld` first and needs no help to find it.
        let linker = if toolchain.linker.is_some() {
            None
        } else {
            linkers.into_iter().next().or_else(|| workspace.which("rust-lld"))
        };
        Some(Self { target: target.to_owned(), toolchain, library, linker })
    }

    /// Like [`find`](Self::find), and where there is none installs Debian's, if this is Debian and we are root.
    pub(crate) fn find_or_install(workspace: &Workspace, target: &str) -> Option<Self> {
        Self::find(workspace, target).or_else(|| {
            if !Path::new("/etc/debian_version").is_file() || !setup::may_apt(workspace) {
                return None;
            }
            // Not every release of Debian and its relatives has these packages: then there is no toolchain.
            if let Err(error) = setup::apt_install(workspace, &DEBIAN) {
                println!("    {error:#}");
            }
            Self::find(workspace, target)
        })
    }

    /// This toolchain's cargo in the workspace's root, set to the target and to a target folder of its own. Members
    /// of the workspace that need `std` do not build for a chip: name packages with `--package`.
    pub(crate) fn cargo(&self, workspace: &Workspace, subcommand: &str) -> Command {
        let mut command = workspace.command(&self.toolchain.cargo);
        command.current_dir(&workspace.root).args([subcommand, "--target", &self.target, "--target-dir"]);
        command.arg(self.target_folder(workspace));
        if self.library == Library::Sources {
            command.arg("-Zbuild-std=core,alloc").env("RUSTC_BOOTSTRAP", "1");
        }
        if let Some(rustc) = &self.toolchain.rustc {
            // What rustup and `cargo run` left in the environment belongs to the other toolchain.
            command.env("RUSTC", rustc).env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH");
        }
        if let Some(linker) = &self.linker {
            let name = format!("CARGO_TARGET_{}_LINKER", self.target.to_uppercase().replace(['-', '.'], "_"));
            if env::var_os(&name).is_none() {
                command.env(name, linker);
            }
        }
        command
    }

    /// Builds a program of `tests/bare-metal` with these features, as a firmware is built; where it is. `with` may say more.
    pub(crate) fn measured(
        &self,
        workspace: &Workspace,
        program: &str,
        features: &str,
        with: impl FnOnce(&mut Command),
    ) -> Result<PathBuf> {
        let mut build = self.cargo(workspace, "build");
        build.args(["--manifest-path", "tests/bare-metal/Cargo.toml", "--release", "--quiet"]);
        build.args(["--bin", program, "--features", features]);
        with(&mut build);
        finish(&mut build)?;
        Ok(self.program(workspace, true, program))
    }

    /// Where [`cargo`](Self::cargo) puts the program of this name when it builds with `--release`, or without.
    pub(crate) fn program(&self, workspace: &Workspace, release: bool, name: &str) -> PathBuf {
        let profile = if release { "release" } else { "debug" };
        self.target_folder(workspace).join(&self.target).join(profile).join(name)
    }

    fn target_folder(&self, workspace: &Workspace) -> PathBuf {
        workspace.target.join(format!("bare-{}", self.target))
    }
}

impl fmt::Display for BareMetal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.toolchain.version;
        let library = match self.library {
            Library::Installed => "the target's libraries are installed",
            Library::Sources => "core and alloc built from its sources",
        };
        write!(f, "{} (Rust {major}.{minor}), {library}", self.toolchain.name)
    }
}

/// The first of these that builds for the target and is new enough; the current toolchain comes first in the list.
fn choose(toolchains: Vec<Toolchain>) -> Option<(Toolchain, Library)> {
    let mut current = toolchains;
    let others = current.split_off(current.len().min(1));
    let needed = version(env!("CARGO_PKG_RUST_VERSION"));
    for group in [&current, &others] {
        let fit = || group.iter().filter(|toolchain| needed.is_none_or(|needed| toolchain.version >= needed));
        if let Some(toolchain) = fit().find(|toolchain| toolchain.has_target) {
            return Some((toolchain.clone(), Library::Installed));
        }
        if let Some(toolchain) = fit().find(|toolchain| toolchain.has_sources) {
            return Some((toolchain.clone(), Library::Sources));
        }
    }
    None
}

/// Every Rust on this machine we know how to find, the current one first.
fn toolchains(workspace: &Workspace, target: &str) -> Vec<Toolchain> {
    let mut found = Vec::new();
    let cargo = PathBuf::from(workspace.cargo().get_program());
    let sysroot = output(workspace.command("rustc").args(["--print", "sysroot"]));
    let sysroot = PathBuf::from(sysroot.unwrap_or_default().trim());
    found.extend(look(workspace, "the current toolchain", cargo, None, target));
    for folder in rustup_toolchains(&sysroot) {
        let (cargo, rustc) = (folder.join("bin/cargo"), folder.join("bin/rustc"));
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        found.extend(look(workspace, &format!("rustup's {name}"), cargo, Some(rustc), target));
    }
    if let Some((cargo, rustc)) = debian_programs(workspace) {
        found.extend(look(workspace, "Debian's toolchain", cargo, Some(rustc), target));
    }
    found
}

/// What a toolchain is and has; none if its compiler does not run.
fn look(workspace: &Workspace, name: &str, cargo: PathBuf, rustc: Option<PathBuf>, target: &str) -> Option<Toolchain> {
    let ask = |arguments: &[&str]| {
        let mut compiler = workspace.command(rustc.as_deref().unwrap_or(Path::new("rustc")));
        if rustc.is_some() {
            compiler.env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH");
        }
        output(compiler.args(arguments)).ok()
    };
    let (sysroot, about) = (ask(&["--print", "sysroot"])?, ask(&["-vV"])?);
    let fact = |key| about.lines().find_map(|line| line.strip_prefix(key));
    let rustlib = Path::new(sysroot.trim()).join("lib/rustlib");
    let linker = rustlib.join(fact("host: ")?).join("bin/rust-lld");
    Some(Toolchain {
        name: name.to_owned(),
        cargo,
        rustc,
        version: version(fact("release: ")?)?,
        has_target: rustlib.join(target).join("lib").is_dir(),
        has_sources: rustlib.join("src/rust/library/core/Cargo.toml").is_file(),
        linker: linker.is_file().then_some(linker),
    })
}

/// The toolchains beside this one where rustup keeps it, releases before nightlies.
fn rustup_toolchains(sysroot: &Path) -> Vec<PathBuf> {
    let Some(home) = sysroot.parent().filter(|home| home.ends_with("toolchains")) else { return Vec::new() };
    let folders = home.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = folders.filter(|folder| folder != sysroot).collect();
    folders.sort_by_key(|folder| (folder.to_string_lossy().contains("nightly"), folder.clone()));
    folders
}

/// Debian's cargo and rustc, which have to be used together.
fn debian_programs(workspace: &Workspace) -> Option<(PathBuf, PathBuf)> {
    let [rustc, cargo, _] = DEBIAN;
    let files = output(workspace.command("dpkg").args(["-L", cargo, rustc])).ok()?;
    Some((packaged(&files, "cargo")?, packaged(&files, "rustc")?))
}

/// The program of this name among the files of a package. /usr/bin comes first: the `cargo` in /usr/share/cargo/bin is
/// a script for building Debian packages.
fn packaged(files: &str, name: &str) -> Option<PathBuf> {
    let programs = || files.lines().map(Path::new).filter(|file| file.ends_with(Path::new("bin").join(name)));
    let first = programs().find(|file| file.starts_with("/usr/bin")).or_else(|| programs().next());
    first.map(Path::to_path_buf)
}

/// Major and minor of a version such as 1.96.0 or 1.97.0-nightly.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(name: &str, has_target: bool, has_sources: bool) -> Toolchain {
        let cargo = PathBuf::from(name).join("cargo");
        Toolchain { name: name.to_owned(), cargo, rustc: None, version: (1, 99), has_target, has_sources, linker: None }
    }

    fn chosen(toolchains: &[Toolchain]) -> Option<(String, Library)> {
        choose(toolchains.to_vec()).map(|(toolchain, library)| (toolchain.name, library))
    }

    #[test]
    fn the_current_toolchain_comes_first_and_the_installed_target_before_sources() {
        let both = toolchain("a", true, true);
        assert_eq!(chosen(&[both, toolchain("b", true, true)]), Some(("a".into(), Library::Installed)));
        let sources = toolchain("a", false, true);
        assert_eq!(chosen(&[sources, toolchain("b", true, true)]), Some(("a".into(), Library::Sources)));
    }

    #[test]
    fn another_toolchain_helps_out_if_it_is_new_enough() {
        let bare = toolchain("a", false, false);
        let (sources, target) = (toolchain("b", false, true), toolchain("c", true, false));
        assert_eq!(chosen(&[bare.clone(), sources.clone(), target]), Some(("c".into(), Library::Installed)));
        assert_eq!(chosen(&[bare.clone(), sources]), Some(("b".into(), Library::Sources)));
        let old = Toolchain { version: (1, 63), ..toolchain("b", true, true) };
        assert_eq!(chosen(&[bare, old]), None);
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn the_programs_of_a_package() {
        let files = "/.\n/usr/share/cargo/bin/cargo\n/usr/bin/cargo\n/usr/share/doc/cargo\n/usr/bin/rustc\n";
        assert_eq!(packaged(files, "cargo"), Some("/usr/bin/cargo".into()));
        assert_eq!(packaged(files, "rustc"), Some("/usr/bin/rustc".into()));
        assert_eq!(packaged("/usr/share/cargo/bin/cargo\n", "cargo"), Some("/usr/share/cargo/bin/cargo".into()));
        assert_eq!(packaged(files, "rustdoc"), None);
    }

    #[test]
    fn versions_of_releases_and_nightlies() {
        assert_eq!(version("1.96.0"), Some((1, 96)));
        assert_eq!(version("1.97.0-nightly"), Some((1, 97)));
        assert_eq!(version("1.95"), Some((1, 95)));
        assert_eq!(version("unknown"), None);
    }
}
