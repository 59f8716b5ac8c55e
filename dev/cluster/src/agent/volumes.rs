//! Volumes: folders that a pod's processes see below their root, and the files in them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, DownwardAPIVolumeFile, KeyToPath, Pod, SecretVolumeSource, Volume,
};
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;

use super::context::Context;
use super::environment;
use crate::files;

/// The folder of each volume.
pub(crate) type Folders = HashMap<String, PathBuf>;
type Files = BTreeMap<String, Vec<u8>>;

/// Makes the pod's volumes and fills them, or says what is missing. Called again, it brings the files up to date.
pub(crate) fn prepare(context: &Context, pod: &Pod, folder: &Path, address: &str) -> Result<Folders, String> {
    let mut folders = Folders::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let path = one(context, pod, volume, folder, address)
            .map_err(|error| format!("MountVolume.SetUp failed for volume \"{}\" : {error}", volume.name))?;
        folders.insert(volume.name.clone(), path);
    }
    Ok(folders)
}

fn one(context: &Context, pod: &Pod, volume: &Volume, folder: &Path, address: &str) -> Result<PathBuf, String> {
    let namespace = pod.namespace().unwrap_or_default();
    let path = folder.join("volumes").join(&volume.name);
    let make = |path: &Path| files::make_folder(path).map_err(|error| format!("{error:#}"));
    if let Some(source) = &volume.persistent_volume_claim {
        let claim = context.claims.get(&ObjectRef::new(&source.claim_name).within(&namespace));
        let name = claim.and_then(|claim| claim.spec.as_ref()?.volume_name.clone());
        let name = name.ok_or_else(|| format!("persistentvolumeclaim \"{}\" is not bound", source.claim_name))?;
        let bound = context.volumes.get(&ObjectRef::new(&name));
        let host = bound.and_then(|bound| bound.spec.as_ref()?.host_path.as_ref().map(|host| host.path.clone()));
        let host = host.ok_or_else(|| format!("persistentvolume \"{name}\" is no folder"))?;
        make(Path::new(&host))?;
        return Ok(PathBuf::from(host));
    }
    if let Some(source) = &volume.host_path {
        return Ok(PathBuf::from(&source.path));
    }
    make(&path)?;
    if volume.empty_dir.is_some() || volume.ephemeral.is_some() {
        return Ok(path);
    }
    let content = if let Some(source) = &volume.config_map {
        config_map(context, &namespace, source)?
    } else if let Some(source) = &volume.secret {
        secret(context, &namespace, source)?
    } else if let Some(source) = &volume.downward_api {
        downward(context, pod, source.items.as_deref().unwrap_or_default(), address)?
    } else if let Some(source) = &volume.projected {
        let mut all = Files::new();
        for source in source.sources.iter().flatten() {
            all.extend(projected(context, pod, &namespace, source, folder, address)?);
        }
        all
    } else {
        return Err("this kind of volume is not supported by the development cluster".to_owned());
    };
    write(&path, &content).map_err(|error| format!("{error:#}"))?;
    Ok(path)
}

fn projected(
    context: &Context,
    pod: &Pod,
    namespace: &str,
    source: &k8s_openapi::api::core::v1::VolumeProjection,
    folder: &Path,
    address: &str,
) -> Result<Files, String> {
    if let Some(source) = &source.config_map {
        let source = ConfigMapVolumeSource {
            name: source.name.clone(),
            items: source.items.clone(),
            optional: source.optional,
            ..Default::default()
        };
        return config_map(context, namespace, &source);
    }
    if let Some(source) = &source.secret {
        let source = SecretVolumeSource {
            secret_name: Some(source.name.clone()),
            items: source.items.clone(),
            optional: source.optional,
            ..Default::default()
        };
        return secret(context, namespace, &source);
    }
    if let Some(source) = &source.downward_api {
        return downward(context, pod, source.items.as_deref().unwrap_or_default(), address);
    }
    if let Some(source) = &source.service_account_token {
        // The audience is always the API server's.
        let token = std::fs::read(folder.join("token")).map_err(|error| format!("no token yet: {error}"))?;
        return Ok(Files::from([(source.path.clone(), token)]));
    }
    Err("this kind of projection is not supported by the development cluster".to_owned())
}

fn config_map(context: &Context, namespace: &str, source: &ConfigMapVolumeSource) -> Result<Files, String> {
    let is_optional = source.optional == Some(true);
    let Some(map) = environment::config_map(&context.config_maps, namespace, &source.name) else {
        return if is_optional { Ok(Files::new()) } else { Err(format!("configmap \"{}\" not found", source.name)) };
    };
    let mut all: Files =
        map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes())).collect();
    all.extend(map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())));
    select(all, source.items.as_deref(), is_optional)
}

fn secret(context: &Context, namespace: &str, source: &SecretVolumeSource) -> Result<Files, String> {
    let is_optional = source.optional == Some(true);
    let name = source.secret_name.as_deref().unwrap_or_default();
    let Some(secret) = environment::secret(&context.secrets, namespace, name) else {
        return if is_optional { Ok(Files::new()) } else { Err(format!("secret \"{name}\" not found")) };
    };
    let all = secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect();
    select(all, source.items.as_deref(), is_optional)
}

fn downward(context: &Context, pod: &Pod, items: &[DownwardAPIVolumeFile], address: &str) -> Result<Files, String> {
    items
        .iter()
        .map(|item| {
            let path = item.field_ref.as_ref().map(|field| field.field_path.as_str()).unwrap_or_default();
            environment::field(pod, path, address, &context.host.to_string())
                .map(|value| (item.path.clone(), value.into_bytes()))
                .ok_or_else(|| format!("field `{path}` is not supported"))
        })
        .collect()
}

fn select(mut all: Files, items: Option<&[KeyToPath]>, is_optional: bool) -> Result<Files, String> {
    let Some(items) = items else { return Ok(all) };
    let mut selected = Files::new();
    for item in items {
        match all.remove(&item.key) {
            Some(value) => drop(selected.insert(item.path.clone(), value)),
            None if is_optional => {}
            None => return Err(format!("references non-existent key: {}", item.key)),
        }
    }
    Ok(selected)
}

/// Makes a folder hold these files and no others; a file that is right is not touched.
fn write(folder: &Path, content: &Files) -> anyhow::Result<()> {
    for (name, bytes) in content {
        let path = inside(folder, name);
        if std::fs::read(&path).ok().as_ref() != Some(bytes) {
            files::write_atomically(&path, bytes)?;
        }
    }
    for entry in std::fs::read_dir(folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_wanted = content.keys().any(|key| key.split('/').next() == Some(&name));
        if !is_wanted && entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Links a container's mounts below its root.
pub(crate) fn mount(container: &Container, folders: &Folders, root: &Path) -> Result<(), String> {
    let mut mounts: Vec<_> = container.volume_mounts.iter().flatten().collect();
    // A mount inside of another comes after it.
    mounts.sort_by_key(|mount| mount.mount_path.len());
    for mount in mounts {
        let folder = folders.get(&mount.name).ok_or_else(|| format!("there is no volume \"{}\"", mount.name))?;
        let target = match mount.sub_path.as_deref().filter(|path| !path.is_empty()) {
            Some(path) => {
                let target = inside(folder, path);
                if !target.exists() {
                    files::make_folder(&target).map_err(|error| format!("{error:#}"))?;
                }
                target
            }
            None => folder.clone(),
        };
        files::link(&target, &inside(root, &mount.mount_path)).map_err(|error| format!("{error:#}"))?;
    }
    Ok(())
}

/// An argument as the process has to see it: what begins with a mount's path lies below the root.
pub(crate) fn rewrite(argument: &str, container: &Container, root: &Path) -> String {
    let is_mounted = container.volume_mounts.iter().flatten().any(|mount| {
        let path = mount.mount_path.trim_end_matches('/');
        argument.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if is_mounted { inside(root, argument).display().to_string() } else { argument.to_owned() }
}

/// A path below another, whatever it says.
pub(crate) fn inside(root: &Path, path: &str) -> PathBuf {
    let names = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_)));
    root.join(names.collect::<PathBuf>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Container {
        serde_json::from_value(serde_json::json!({
            "name": "node",
            "volumeMounts": [{ "name": "scripts", "mountPath": "/opt/redislabs/shared" }],
        }))
        .unwrap()
    }

    #[test]
    fn only_arguments_below_a_mount_are_rewritten() {
        let rewrite = |argument| rewrite(argument, &container(), Path::new("/root-of-pod"));
        assert_eq!(rewrite("/opt/redislabs/shared/readiness.sh"), "/root-of-pod/opt/redislabs/shared/readiness.sh");
        assert_eq!(rewrite("/opt/redislabs/shared"), "/root-of-pod/opt/redislabs/shared");
        assert_eq!(rewrite("/opt/redislabs/shared-not"), "/opt/redislabs/shared-not");
        assert_eq!(rewrite("-l"), "-l");
    }

    #[test]
    fn no_path_leads_out_of_its_root() {
        assert_eq!(inside(Path::new("/root"), "../../etc/./passwd"), Path::new("/root/etc/passwd"));
    }

    #[test]
    fn files_follow_their_source() {
        let folder = std::env::temp_dir().join(format!("stepwright-volume-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = |entries: &[(&str, &str)]| -> Files {
            entries.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
        };
        write(&folder, &files(&[("a", "1"), ("b", "2")])).unwrap();
        write(&folder, &files(&[("a", "3")])).unwrap();
        let (a, has_b) = (std::fs::read_to_string(folder.join("a")).unwrap(), folder.join("b").exists());
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((a.as_str(), has_b), ("3", false));
    }
}
