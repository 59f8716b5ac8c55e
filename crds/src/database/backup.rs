//! Where and when a database is backed up.

api! {
    /// Backup: a schedule and exactly one target.
    pub struct Backup {
        /// Seconds between backups; 86400 if empty.
        #[schemars(range(min = 1))]
        pub interval: Option<i32>,
        /// Seconds after midnight (or noon) of the first one; any if empty. Only with an interval of 86400 or 43200.
        #[schemars(range(min = 0))]
        pub interval_offset: Option<i32>,
        /// To Amazon S3, or what the cluster's backup.s3 names.
        pub s3: Option<S3>,
        /// To Azure Blob Storage.
        pub abs: Option<Abs>,
        /// To Google Cloud Storage.
        pub gcs: Option<Gcs>,
        /// To a server by SFTP.
        pub sftp: Option<Sftp>,
        /// To OpenStack Swift.
        pub swift: Option<Swift>,
        /// To a server by FTP.
        pub ftp: Option<Ftp>,
        /// To a folder that is mounted on every node.
        pub mount: Option<Mount>,
    }
}

api! {
    /// Amazon S3.
    pub struct S3 {
        /// Secret with `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
        pub aws_secret_name: String,
        /// Bucket.
        pub bucket_name: String,
        /// Folder in the bucket.
        pub subdir: Option<String>,
        /// Region of the bucket.
        pub region_name: Option<String>,
    }
}

api! {
    /// Azure Blob Storage.
    pub struct Abs {
        /// Secret with `AccountName` and `AccountKey`.
        pub abs_secret_name: String,
        /// Container.
        pub container: String,
        /// Folder in the container.
        pub subdir: Option<String>,
    }
}

api! {
    /// Google Cloud Storage.
    pub struct Gcs {
        /// Secret with `CLIENT_ID`, `PRIVATE_KEY`, `PRIVATE_KEY_ID` and `CLIENT_EMAIL`.
        pub gcs_secret_name: String,
        /// Bucket.
        pub bucket_name: String,
        /// Folder in the bucket.
        pub subdir: Option<String>,
    }
}

api! {
    /// SFTP.
    pub struct Sftp {
        /// Secret with the private key under the key `Key`.
        pub sftp_secret_name: String,
        /// Place: sftp://user@host:port/folder.
        #[serde(rename = "sftp_url")]
        #[schemars(length(max = 2048))]
        pub sftp_url: String,
    }
}

api! {
    /// OpenStack Swift.
    pub struct Swift {
        /// Secret with `Key` and `User`.
        pub swift_secret_name: String,
        /// Place to log in at: an http or https URL.
        #[serde(rename = "auth_url")]
        #[schemars(length(max = 2048))]
        pub auth_url: String,
        /// Container.
        pub container: String,
        /// What the names of backups begin with.
        pub prefix: Option<String>,
    }
}

api! {
    /// FTP.
    pub struct Ftp {
        /// Place: ftp://user:password@host:port/folder, or ftps.
        #[schemars(length(max = 2048))]
        pub url: String,
    }
}

api! {
    /// A mounted folder.
    pub struct Mount {
        /// Path; it must exist on every node.
        pub path: String,
    }
}
