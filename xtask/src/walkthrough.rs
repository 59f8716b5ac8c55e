//! What one can do next, as commands to paste.

use std::path::Path;

use crate::kubectl::Kubectl;

pub(crate) fn print(elapsed: f64, kubectl: &Kubectl, folder: &Path, name: &str, with_samples: bool) {
    let kubectl_folder = kubectl.program.parent().filter(|folder| !folder.as_os_str().is_empty());
    println!("\nup after {elapsed:.0} s. To go on:\n");
    if let Some(path) = &kubectl.kubeconfig {
        println!("  export KUBECONFIG={}", path.display());
    }
    if let Some(folder) = kubectl_folder {
        println!("  export PATH={}:$PATH        # kubectl", folder.display());
    }
    let namespace = if kubectl.kubeconfig.is_some() {
        String::new()
    } else {
        format!("  kubectl config set-context --current --namespace={}\n", kubectl.namespace)
    };
    print!("{namespace}");
    println!("\n  kubectl get nodes\n  kubectl get pods");
    if with_samples {
        println!("{SAMPLES}");
    }
    let name = if name == "default" { String::new() } else { format!(" --name {name}") };
    println!("Logs: {}\nTo end it: cargo xtask down{name}", folder.join("logs").display());
}

const SAMPLES: &str = r#"  kubectl get rec
  kubectl get pods -l app.kubernetes.io/name=redis-enterprise
  kubectl exec -it rec-0 -- bash -lc 'rladmin status'

  kubectl get redb mydb -o yaml
  kubectl get redb mydb -o jsonpath="{.spec.databaseSecretName}"; echo
  kubectl get secret redb-mydb -o jsonpath='{.data.password}' | base64 --decode; echo
  kubectl port-forward service/mydb 16379:19621 &
  redis-cli -p 16379 -a "$(kubectl get secret redb-mydb -o jsonpath='{.data.password}' | base64 --decode)" INFO server

  kubectl patch redb mydb --type merge -p '{"spec":{"memorySize":"512MB","replication":true}}'
  kubectl get redb mydb -w
  kubectl delete service mydb && kubectl get service mydb -w     # it comes back

  kubectl delete redb mydb
  kubectl delete rec rec
  kubectl get pvc                                                # kept
"#;
