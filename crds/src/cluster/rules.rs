//! Rules of RedisEnterpriseCluster that need no knowledge of the cluster (reference, 3.2).

use crate::rule::Rule;

/// Rules for every served version.
pub const RULES: &[Rule] = &[
    Rule::new(
        "spec.nodes",
        "self >= 3",
        "spec.nodes must be at least 3, or the cluster could not lose a node; set 3, or leave it out",
    ),
    Rule::new(
        "spec.nodes",
        "self % 2 == 1",
        "spec.nodes must be odd, so that one side of a split has the majority; add or leave out one node",
    ),
    // On spec, not on nodes: leaving the field out means 3, which may be fewer than before.
    Rule::new(
        "spec",
        "self.?allowScaleDown.orValue(false) || self.?nodes.orValue(3) >= oldSelf.?nodes.orValue(3)",
        "spec.nodes must not shrink (empty means 3) unless allowScaleDown is true; set that, or the former number or more",
    )
    .about(".nodes"),
    Rule::new(
        "spec",
        "self.?license.orValue('') == '' || self.?licenseSecretName.orValue('') == ''",
        "spec.license and spec.licenseSecretName exclude each other; remove one of them",
    )
    .about(".license"),
    Rule::new(
        "spec",
        "!has(self.ingressOrRouteSpec) || !has(self.activeActive)",
        "spec.ingressOrRouteSpec and spec.activeActive exclude each other; remove activeActive, the deprecated one",
    )
    .about(".activeActive"),
    Rule::new(
        "spec",
        "self.?persistentSpec.?enabled.orValue(true) == oldSelf.?persistentSpec.?enabled.orValue(true)",
        "spec.persistentSpec.enabled cannot be changed on an existing cluster (empty means true); set it back, or make a new cluster",
    )
    .about(".persistentSpec"),
    Rule::new(
        "spec",
        // To take a name away must stay possible, or one that was given too late could not be got rid of.
        "self.?persistentSpec.?storageClassName.orValue('') == '' || \
         oldSelf.?persistentSpec.?storageClassName.orValue('') in ['', self.?persistentSpec.?storageClassName.orValue('')]",
        "spec.persistentSpec.storageClassName cannot be changed once set, as volumes stay in their class; set it back, or make a new cluster",
    )
    .about(".persistentSpec"),
    Rule::new(
        "spec.persistentSpec.volumeSize",
        "quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0",
        "spec.persistentSpec.volumeSize must not shrink, as volumes can only grow; set it to the former size or more",
    ),
    Rule::new(
        "spec.persistentSpec",
        "self.?enablePersistentVolumeResize.orValue(false) || !has(self.volumeSize) || !has(oldSelf.volumeSize) || \
         quantity(string(self.volumeSize)).compareTo(quantity(string(oldSelf.volumeSize))) <= 0",
        "spec.persistentSpec.volumeSize can only grow with resizing allowed; set enablePersistentVolumeResize: true as well",
    )
    .about(".volumeSize"),
    Rule::new(
        "spec",
        "!self.?persistentSpec.?enablePersistentVolumeResize.orValue(false) || !has(self.redisOnFlashSpec)",
        "spec.persistentSpec.enablePersistentVolumeResize and spec.redisOnFlashSpec exclude each other; remove one of them",
    )
    .about(".persistentSpec"),
    Rule::new(
        "spec",
        "!self.?clusterRecovery.orValue(false) || self.?persistentSpec.?enabled.orValue(true)",
        "spec.clusterRecovery needs volumes to recover from, and spec.persistentSpec.enabled is false; remove clusterRecovery",
    )
    .about(".clusterRecovery"),
    Rule::new(
        "spec",
        "!self.?upgradeSpec.?autoUpgradeRedisEnterprise.orValue(false) || [\
         self.?redisEnterpriseImageSpec.?digestHash, self.?redisEnterpriseServicesRiggerImageSpec.?digestHash, \
         self.?bootstrapperImageSpec.?digestHash, self.?usageMeter.?callHomeClient.?imageSpec.?digestHash\
         ].all(digest, digest.orValue('') == '')",
        "spec.upgradeSpec.autoUpgradeRedisEnterprise cannot be true while an image is fixed by digestHash; remove the digests, or set it to false",
    )
    .about(".upgradeSpec"),
    Rule::new("spec.redisEnterpriseImageSpec", DIGEST_HAS_TAG, "spec.redisEnterpriseImageSpec.digestHash needs versionTag; add the tag of that digest").about(".versionTag"),
    Rule::new("spec.redisEnterpriseServicesRiggerImageSpec", DIGEST_HAS_TAG, "spec.redisEnterpriseServicesRiggerImageSpec.digestHash needs versionTag; add the tag of that digest").about(".versionTag"),
    Rule::new("spec.bootstrapperImageSpec", DIGEST_HAS_TAG, "spec.bootstrapperImageSpec.digestHash needs versionTag; add the tag of that digest").about(".versionTag"),
    Rule::new("spec.usageMeter.callHomeClient.imageSpec", DIGEST_HAS_TAG, "spec.usageMeter.callHomeClient.imageSpec.digestHash needs versionTag; add the tag of that digest").about(".versionTag"),
    Rule::new(
        "spec.username",
        "self == '' || self.matches('^[^@ ]+@[^@ ]+$')",
        "spec.username must look like an e-mail address, such as demo@redis.com; correct it, or leave it out",
    ),
    Rule::new(
        "spec.containerTimezone",
        "!has(self.propagateHost) || !has(self.timezoneName)",
        "spec.containerTimezone.propagateHost and timezoneName exclude each other; remove one of them",
    )
    .about(".timezoneName"),
    Rule::new(
        "spec.servicesRiggerSpec.databaseServiceType",
        "self == '' || self.split(',').all(word, word.trim() in ['cluster_ip', 'headless', 'load_balancer'])",
        "spec.servicesRiggerSpec.databaseServiceType must be a list of cluster_ip, headless, load_balancer, separated by commas; correct it",
    ),
    Rule::new(
        "spec.ingressOrRouteSpec",
        "self.method != 'ingress' || (has(self.ingressAnnotations) && 'kubernetes.io/ingress.class' in self.ingressAnnotations)",
        "spec.ingressOrRouteSpec.ingressAnnotations needs kubernetes.io/ingress.class with method ingress; add that annotation",
    )
    .about(".ingressAnnotations"),
    Rule::new(
        "spec.ingressOrRouteSpec.apiFqdnUrl",
        "!self.contains('/')",
        "spec.ingressOrRouteSpec.apiFqdnUrl must be a host name alone; remove scheme and path",
    ),
    Rule::new(
        "spec.ossClusterSettings.podCIDRs[]",
        "isCIDR(self)",
        "spec.ossClusterSettings.podCIDRs must hold networks such as 10.0.0.0/8; correct this one",
    ),
    Rule::new(
        "spec.userDefinedModules[].source",
        "has(self.http) != has(self.https)",
        "spec.userDefinedModules[].source needs exactly one of http and https; keep the one to fetch from",
    ),
    Rule::new(
        "spec.userDefinedModules[].source.http.url",
        "self.startsWith('http://')",
        "spec.userDefinedModules[].source.http.url must begin with http://; correct it, or move it below https",
    ),
    Rule::new(
        "spec.userDefinedModules[].source.https.url",
        "self.startsWith('https://')",
        "spec.userDefinedModules[].source.https.url must begin with https://; correct it, or move it below http",
    ),
    Rule::new(
        "spec.ldap.authenticationQuery",
        "has(self.template) != has(self.query)",
        "spec.ldap.authenticationQuery needs exactly one of template and query; keep the one to use",
    ),
    Rule::new(
        "spec.ldap.authorizationQuery",
        "has(self.attribute) != has(self.query)",
        "spec.ldap.authorizationQuery needs exactly one of attribute and query; keep the one to use",
    ),
    Rule::new(
        "spec",
        "!self.?sso.?enabled.orValue(false) || (\
         self.?certificates.?ssoServiceCertificateSecretName.orValue('') != '' && \
         self.?certificates.?ssoIssuerCertificateSecretName.orValue('') != '')",
        "spec.sso.enabled needs certificates; set ssoServiceCertificateSecretName and ssoIssuerCertificateSecretName in spec.certificates",
    )
    .about(".sso"),
    Rule::new(
        "spec.sso",
        "!self.enabled || self.saml.?idpMetadataSecretName.orValue('') != '' || has(self.saml.issuer)",
        "spec.sso.saml needs to know the identity provider; set idpMetadataSecretName or issuer",
    )
    .about(".saml"),
];

const DIGEST_HAS_TAG: &str = "self.?digestHash.orValue('') == '' || self.?versionTag.orValue('') != ''";
