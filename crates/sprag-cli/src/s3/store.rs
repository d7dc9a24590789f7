//! Buckets over a directory.

use std::fs;
use std::path::{Component, Path};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use s3s::dto::{
    ETag, ETagCondition, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, PutObjectInput,
};
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::sync::RwLock;

use super::Config;

/// `s3s-fs`, and what it lacks: `If-Match`, and a bucket that is the root itself.
#[derive(Clone)]
pub(super) struct Store(Arc<Inner>);

struct Inner {
    config: Config,
    files: FileSystem,
    /// `s3s-fs` replaces an object's file and its ETag one after the other; nobody may look between.
    replacing: RwLock<()>,
}

impl Store {
    pub(super) fn new(config: Config) -> Result<Self> {
        let root = &config.root;
        if !root.is_dir() {
            bail!("cannot serve {}: it is not a directory", root.display());
        }
        if let Some(name) = config.bucket.as_deref().filter(|name| !s3s::path::check_bucket_name(name)) {
            bail!("{name:?} is not a valid bucket name: 3 to 63 of a-z, 0-9, '-' and '.'");
        }
        let files = FileSystem::new(root).map_err(|error| anyhow!("cannot serve {}: {error:?}", root.display()))?;
        Ok(Self(Arc::new(Inner { config, files, replacing: RwLock::default() })))
    }

    /// Returns the new ETag.
    pub(super) async fn put(&self, bucket: &str, key: &str, bytes: Vec<u8>) -> Result<String> {
        let directory = self.0.directory(bucket).filter(|_| is_plain(key));
        let directory = directory.with_context(|| format!("{bucket}/{key} names no object here"))?;
        let input = PutObjectInput {
            bucket: directory.into(),
            key: key.into(),
            body: Some(Body::from(bytes).into()),
            ..PutObjectInput::default()
        };
        let _alone = self.0.replacing.write().await;
        let put = self.0.files.put_object(request(input)).await;
        let answer =
            put.with_context(|| format!("cannot put {bucket}/{key} below {}", self.0.config.root.display()))?;
        Ok(answer.output.e_tag.map(ETag::into_value).unwrap_or_default())
    }

    /// All files that are not hidden, as (bucket, key), sorted.
    pub(super) fn objects(&self) -> Result<Vec<(String, String)>> {
        let Config { root, bucket, .. } = &self.0.config;
        let mut objects = Vec::new();
        if let Some(bucket) = bucket {
            list(root, bucket, "", &mut objects)?;
        } else {
            for (name, is_dir) in entries(root)? {
                if is_dir && s3s::path::check_bucket_name(&name) {
                    list(&root.join(&name), &name, "", &mut objects)?;
                }
            }
        }
        objects.sort();
        Ok(objects)
    }
}

impl Inner {
    /// Where a bucket lies below the root; "" is the root (`s3s-fs` takes "." for the current directory).
    fn directory<'a>(&self, bucket: &'a str) -> Option<&'a str> {
        match &self.config.bucket {
            Some(name) => (name == bucket).then_some(""),
            None => s3s::path::check_bucket_name(bucket).then_some(bucket),
        }
    }

    /// The same, for an object that is there.
    fn find(&self, bucket: &str, key: &str) -> S3Result<String> {
        let directory = self.directory(bucket).filter(|directory| self.config.root.join(directory).is_dir());
        let Some(directory) = directory else {
            return Err(s3_error!(NoSuchBucket, "The specified bucket does not exist"));
        };
        if !is_plain(key) || !self.config.root.join(directory).join(key).is_file() {
            return Err(s3_error!(NoSuchKey, "The specified key does not exist."));
        }
        Ok(directory.into())
    }
}

#[async_trait::async_trait]
impl S3 for Store {
    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let mut input = req.input;
        input.bucket = self.0.find(&input.bucket, &input.key)?;
        let head = HeadObjectInput { bucket: input.bucket.clone(), key: input.key.clone(), ..Default::default() };
        let condition = input.if_match.take();
        let _unchanged = self.0.replacing.read().await;
        match self.0.files.get_object(request(input)).await {
            Ok(mut answer) => {
                check(condition, answer.output.e_tag.as_ref())?;
                answer.output.accept_ranges = Some("bytes".into());
                Ok(answer)
            }
            // A range past the end of a replaced object: the object's change comes first.
            Err(error) if condition.is_some() => {
                check(condition, self.0.files.head_object(request(head)).await?.output.e_tag.as_ref())?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let mut input = req.input;
        input.bucket = self.0.find(&input.bucket, &input.key)?;
        let condition = input.if_match.take();
        let _unchanged = self.0.replacing.read().await;
        let mut answer = self.0.files.head_object(request(input)).await?;
        check(condition, answer.output.e_tag.as_ref())?;
        answer.output.accept_ranges = Some("bytes".into());
        Ok(answer)
    }
}

/// `If-Match`, by the strong comparison.
fn check(condition: Option<ETagCondition>, current: Option<&ETag>) -> S3Result<()> {
    match condition {
        Some(ETagCondition::ETag(wanted)) if !current.is_some_and(|current| current.strong_cmp(&wanted)) => {
            Err(s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold"))
        }
        _ => Ok(()),
    }
}

/// A request without URL, headers and credentials: `s3s-fs` needs none, and shows all it gets to `tracing`.
fn request<T>(input: T) -> S3Request<T> {
    S3Request {
        input,
        method: hyper::Method::default(),
        uri: hyper::Uri::default(),
        headers: hyper::HeaderMap::default(),
        extensions: hyper::http::Extensions::default(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    }
}

/// A key that stays inside its bucket.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && Path::new(key).components().all(|part| matches!(part, Component::Normal(_)))
}

fn list(directory: &Path, bucket: &str, prefix: &str, objects: &mut Vec<(String, String)>) -> Result<()> {
    for (name, is_dir) in entries(directory)? {
        if is_dir {
            list(&directory.join(&name), bucket, &format!("{prefix}{name}/"), objects)?;
        } else if directory.join(&name).is_file() {
            objects.push((bucket.into(), format!("{prefix}{name}")));
        }
    }
    Ok(())
}

/// Names and whether each is a directory (a link to one is not: links can make circles). Hidden ones are left out, and
/// names that are not UTF-8, which no key is.
fn entries(directory: &Path) -> Result<Vec<(String, bool)>> {
    let context = || format!("cannot list {}", directory.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).with_context(context)? {
        let entry = entry.with_context(context)?;
        let is_dir = entry.file_type().with_context(context)?.is_dir();
        entries.extend(entry.file_name().into_string().ok().filter(|name| !name.starts_with('.')).map(|n| (n, is_dir)));
    }
    Ok(entries)
}
