//! Which control groups this process is in, and where their files are.
//!
//! `/sys/fs/cgroup` is not the answer: under a host's cgroup namespace it is the root of all groups,
//! without limits or figures, and version 1 has a hierarchy for each controller. The kernel says it
//! in `/proc/self/cgroup` (the group, in each hierarchy) and `/proc/self/mountinfo` (where which part
//! of a hierarchy is mounted).
//!
//! Source: cgroups(7), proc(5), the kernel's `Documentation/admin-guide/cgroup-v1` and `-v2`.

use super::Files;

/// The groups that limit this process, for each controller: its own first, then those around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) cpu: Option<Hierarchy>,
    pub(super) cpu_usage: Option<Hierarchy>,
    pub(super) cpu_set: Option<Hierarchy>,
    pub(super) memory: Option<Hierarchy>,
}

/// Directories of groups within one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    pub(super) directories: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// Groups are nested a few levels deep; a path with more of them is none that a kernel made.
const DEEPEST: usize = 64;

impl Groups {
    pub(super) fn find(files: &Files) -> Self {
        let [memberships, mounts] = ["/proc/self/cgroup", "/proc/self/mountinfo"].map(files);
        let memberships = Membership::parse(memberships.as_deref().unwrap_or_default());
        let mounts = Mount::parse(mounts.as_deref().unwrap_or_default());
        let find = |controller| Hierarchy::find(controller, &memberships, &mounts);
        Self {
            cpu: find("cpu"),
            cpu_usage: find("cpuacct"),
            cpu_set: find("cpuset"),
            memory: find("memory"),
        }
    }
}

impl Hierarchy {
    /// A controller is in a hierarchy of version 1, or else in the one of version 2.
    fn find(controller: &str, memberships: &[Membership<'_>], mounts: &[Mount]) -> Option<Self> {
        let v1 = memberships.iter().find(|group| group.controllers.contains(&controller));
        let v2 = memberships.iter().find(|group| group.controllers.is_empty());
        let (version, path) = match (v1, v2) {
            (Some(group), _) => (Version::V1, group.path),
            (None, Some(group)) => (Version::V2, group.path),
            (None, None) => return None,
        };
        let holds = |mount: &&Mount| match version {
            Version::V1 => mount.controllers.iter().any(|mounted| mounted == controller),
            Version::V2 => mount.is_v2,
        };
        let mounts = || mounts.iter().filter(holds);
        // Several parts of a hierarchy may be mounted, and this one's group in only one of them.
        let directories = mounts()
            .find_map(|mount| mount.directories(path))
            .or_else(|| mounts().next().map(|mount| vec![mount.point.clone()]))?;
        Some(Self { version, directories })
    }

    pub(super) fn own(&self) -> &str {
        self.directories.first().map_or("", String::as_str)
    }
}

/// A line of `/proc/self/cgroup`: `4:cpu,cpuacct:/docker/abc`, or `0::/system.slice` of version 2.
struct Membership<'a> {
    controllers: Vec<&'a str>,
    path: &'a str,
}

impl<'a> Membership<'a> {
    fn parse(text: &'a str) -> Vec<Self> {
        let line = |line: &'a str| {
            let mut fields = line.splitn(3, ':');
            let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            // A named hierarchy without controllers (`1:name=systemd:/`) is no controller's.
            let controllers: Vec<_> = controllers.split(',').filter(|c| !c.is_empty()).collect();
            (id == "0" || !controllers.is_empty()).then_some(Self { controllers, path })
        };
        text.lines().filter_map(line).collect()
    }
}

/// Where a part of a hierarchy is mounted.
struct Mount {
    /// The group that is seen there.
    root: String,
    point: String,
    is_v2: bool,
    /// Those of a hierarchy of version 1.
    controllers: Vec<String>,
}

impl Mount {
    /// Of lines like `36 35 98:0 /root /point rw,noatime master:1 - cgroup cgroup rw,cpu,cpuacct`.
    fn parse(text: &str) -> Vec<Self> {
        let line = |line: &str| {
            let (mounted, kind) = line.split_once(" - ")?;
            let mut mounted = mounted.split(' ').skip(3);
            let [root, point] = [unescaped(mounted.next()?), unescaped(mounted.next()?)];
            let mut kind = kind.split(' ');
            let is_v2 = match kind.next()? {
                "cgroup2" => true,
                "cgroup" => false,
                _ => return None,
            };
            let options = kind.nth(1).filter(|_| !is_v2).unwrap_or_default();
            let controllers = options.split(',').map(str::to_owned).collect();
            Some(Self { root, point, is_v2, controllers })
        };
        text.lines().filter_map(line).collect()
    }

    /// The directories of the group `path` and of those around it, as far as they are seen here;
    /// `None` if it is elsewhere.
    fn directories(&self, path: &str) -> Option<Vec<String>> {
        let inside = match self.root.as_str() {
            "/" => path,
            root => {
                path.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with('/'))?
            }
        };
        let names: Vec<&str> = inside.split('/').filter(|name| !name.is_empty()).collect();
        // `/../other`: outside this process's namespace.
        if names.len() > DEEPEST || names.contains(&"..") {
            return None;
        }
        let point = self.point.trim_end_matches('/');
        let group = |depth: usize| {
            let names = names[..depth].iter();
            names.fold(point.to_owned(), |directory, name| format!("{directory}/{name}"))
        };
        Some((0..=names.len()).rev().map(group).collect())
    }
}

/// Spaces and the like are written in octal: `\040`.
fn unescaped(path: &str) -> String {
    let mut parts = path.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let octal = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = octal.filter(u8::is_ascii) {
            plain.push(byte.into());
            plain.push_str(&part[3..]);
        } else {
            plain.push('\\');
            plain.push_str(part);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(memberships: &'static str, mounts: &'static str) -> Groups {
        Groups::find(
            &(Box::new(move |path: &str| {
                let text = match path {
                    "/proc/self/cgroup" => memberships,
                    "/proc/self/mountinfo" => mounts,
                    _ => return None,
                };
                Some(text.to_owned())
            }) as Box<Files>),
        )
    }

    fn directories(hierarchy: Option<&Hierarchy>) -> Vec<&str> {
        hierarchy.map_or(vec![], |found| found.directories.iter().map(String::as_str).collect())
    }

    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw";

    #[test]
    fn a_group_of_version_2_is_found_under_its_mount_with_those_around_it() {
        let groups = find("0::/system.slice/api.service\n", V2);
        let expected = [
            "/sys/fs/cgroup/system.slice/api.service",
            "/sys/fs/cgroup/system.slice",
            "/sys/fs/cgroup",
        ];
        for hierarchy in [&groups.cpu, &groups.cpu_usage, &groups.memory] {
            assert_eq!(directories(hierarchy.as_ref()), expected);
        }
        assert_eq!(groups.cpu.map(|cpu| cpu.version), Some(Version::V2));
    }

    #[test]
    fn in_a_namespace_of_its_own_a_container_is_at_the_root_of_its_mount() {
        assert_eq!(directories(find("0::/\n", V2).memory.as_ref()), ["/sys/fs/cgroup"]);
    }

    #[test]
    fn each_controller_of_version_1_has_a_hierarchy_of_its_own() {
        let mounts = "33 30 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
                      34 30 0:30 / /sys/fs/cgroup/memory ro master:15 - cgroup cgroup rw,memory\n";
        let groups = find(
            "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc/inner\n1:name=systemd:/docker/abc\n",
            mounts,
        );
        let cpu = ["/sys/fs/cgroup/cpu,cpuacct/inner", "/sys/fs/cgroup/cpu,cpuacct"];
        assert_eq!(directories(groups.cpu.as_ref()), cpu);
        assert_eq!(directories(groups.cpu_usage.as_ref()), cpu);
        assert_eq!(
            directories(groups.memory.as_ref()),
            [
                "/sys/fs/cgroup/memory/docker/abc",
                "/sys/fs/cgroup/memory/docker",
                "/sys/fs/cgroup/memory"
            ]
        );
        assert_eq!(groups.cpu_set, None);
    }

    #[test]
    fn in_a_mixed_set_up_a_controller_is_where_version_1_has_it() {
        let mounts = format!(
            "{}\n33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
            V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
        );
        let groups = find("5:memory:/a\n0::/b\n", mounts.leak());
        assert_eq!(groups.memory.as_ref().map(|memory| memory.version), Some(Version::V1));
        assert_eq!(groups.memory.as_ref().map(Hierarchy::own), Some("/sys/fs/cgroup/memory/a"));
        assert_eq!(groups.cpu.as_ref().map(Hierarchy::own), Some("/sys/fs/cgroup/unified/b"));
    }

    #[test]
    fn a_group_outside_of_what_is_mounted_is_taken_for_the_mount_s_own() {
        let part = "30 23 0:26 /kubepods/pod1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        for path in ["0::/kubepods/pod11\n", "0::/\n", "0::/../other\n"] {
            assert_eq!(directories(find(path, part).memory.as_ref()), ["/sys/fs/cgroup"]);
        }
        assert_eq!(directories(find("0::/../other\n", V2).cpu.as_ref()), ["/sys/fs/cgroup"]);
        let inside = find("0::/kubepods/pod1/c\n", part);
        assert_eq!(inside.memory.as_ref().map(Hierarchy::own), Some("/sys/fs/cgroup/c"));
        // Of several mounts the one that the group is in.
        let both = format!("{}\n{V2}", part.replace("/sys/fs/cgroup", "/elsewhere"));
        let groups = find("0::/kubepods/pod2\n", both.leak());
        assert_eq!(
            groups.memory.as_ref().map(Hierarchy::own),
            Some("/sys/fs/cgroup/kubepods/pod2")
        );
    }

    #[test]
    fn without_these_files_or_with_others_there_is_no_group() {
        for (memberships, mounts) in [
            ("", ""),
            ("0::/a", ""),
            ("", V2),
            ("nonsense", V2),
            ("0::/a", "30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw"),
            ("0::/a", "- - - -"),
            ("3:cpu:/a", V2),
        ] {
            assert_eq!(find(memberships, mounts), Groups::default(), "{memberships:?} {mounts:?}");
        }
    }

    #[test]
    fn a_mount_point_with_spaces_is_written_in_octal() {
        assert_eq!(unescaped(r"/a\040b\134c"), r"/a b\c");
        assert_eq!(unescaped(r"/a\9\77\"), r"/a\9\77\");
        assert_eq!(unescaped(r"/a\377ü"), r"/a\377ü");
    }
}
