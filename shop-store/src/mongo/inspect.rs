//! Inspects the collections of a store: whether they keep each document as it was written.
//!
//! MongoDB acknowledges writes to a collection that loses or mixes them up by its options: it is
//! capped, has a TTL index, or compares texts without their case. The inspection asks for the
//! options and the indexes of each collection, tests its validator with a document of each form
//! that the store writes, and looks for missing rights. It changes nothing. Its judgements are in
//! [`collection_form`](super::collection_form).

use std::collections::BTreeSet;

use bson::{Bson, Document, doc};
use shop_core::{ErrorKind, Result};

use super::MongoStore;
use super::collection_form::{StoreCollection, judge_indexes, judge_options};
use super::connection::MongoConnection;
use super::error::{is_unauthorized, mongo_error};
use crate::StoreInspection;

/// The actions of a role that the store needs on each of its collections.
const ACTIONS: [&str; 4] = ["find", "insert", "update", "remove"];

impl MongoStore {
    /// Inspects the collections of the store and the rights of the user. Changes nothing.
    ///
    /// | found | reported as |
    /// |---|---|
    /// | a view, a time series, a capped collection, a collation, a TTL index | fault |
    /// | a validator, or a unique index, that rejects documents of this store | fault |
    /// | missing rights on one of the collections, which the error names | error of writes |
    /// | what the user may not look at, a validator that cannot be tested, options of the URI that are left out | warning |
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if the server is unavailable, and
    /// [`Denied`](ErrorKind::Denied) if it rejects the login.
    pub async fn inspect(&self) -> Result<StoreInspection> {
        let connection = &*self.connection;
        let mut inspection = StoreInspection {
            // Without the right to list collections, the collection is assumed to exist.
            exists: true,
            warnings: connection.uri_warnings.clone(),
            ..StoreInspection::default()
        };
        let purchases = StoreCollection::purchases(connection.collection.name());
        let waiting = StoreCollection::waiting_refunds(self.waiting_refunds.collection().name());

        let has_purchases = connection
            .inspect_collection(&purchases, &mut inspection)
            .await?;
        inspection.exists = has_purchases != Some(false);
        connection
            .inspect_collection(&waiting, &mut inspection)
            .await?;

        let missing_rights = connection.missing_rights(&[purchases, waiting]).await;
        if !missing_rights.is_empty() {
            let message =
                "the MongoDB user is not authorized: grant the role readWrite on the database";
            let error = mongo_error(ErrorKind::Denied, message)
                .with_context("missing", missing_rights.join(", "));
            inspection.write_error = Some(error);
        }
        Ok(inspection)
    }
}

impl MongoConnection {
    /// Adds the findings about `collection` to `inspection`. Returns whether the collection exists,
    /// or `None` if the user may not list collections.
    async fn inspect_collection(
        &self,
        collection: &StoreCollection,
        inspection: &mut StoreInspection,
    ) -> Result<Option<bool>> {
        let name = &collection.name;
        let command = doc! { "listCollections": 1, "filter": { "name": name } };
        let Some(entries) = self.list(command).await? else {
            inspection.warnings.push(format!(
                "the options of the collection {name} are not known, because the MongoDB user may not list \
                 collections: grant the role readWrite on the database"
            ));
            return Ok(None);
        };
        // A server may not support the filter, and then lists all collections.
        let describes_collection =
            |entry: &Document| entry.get_str("name").is_ok_and(|listed| listed == name);
        let Some(entry) = entries.into_iter().find(describes_collection) else {
            return Ok(Some(false));
        };

        let validator = judge_options(collection, &entry, inspection);
        // Old servers do not report the type, and have no other types than collections.
        let entry_type = entry.get_str("type").unwrap_or("collection");
        if entry_type == "collection" {
            match self.list(doc! { "listIndexes": name }).await? {
                Some(indexes) => judge_indexes(collection, &indexes, inspection),
                None => inspection.warnings.push(format!(
                    "the indexes of the collection {name} are not known, because the MongoDB user may not list them: \
                     grant the role readWrite on the database"
                )),
            }
        }
        if let Some(validator) = validator {
            self.test_validator(collection, validator, inspection).await;
        }
        Ok(Some(true))
    }

    /// Adds to `inspection` which documents of `collection` its `validator` rejects.
    ///
    /// The server decides, by a query on samples of the documents. `$collStats` is the source of
    /// the query, because it returns a document for an empty collection too.
    async fn test_validator(
        &self,
        collection: &StoreCollection,
        validator: Document,
        inspection: &mut StoreInspection,
    ) {
        let samples = collection.samples();
        let documents: Vec<&Document> = samples.iter().map(|(_, document)| document).collect();
        let command = doc! {
            "aggregate": &collection.name,
            "pipeline": [
                { "$collStats": {} },
                { "$limit": 1 },
                { "$project": { "_id": 0, "sample": { "$literal": documents } } },
                { "$unwind": "$sample" },
                { "$replaceRoot": { "newRoot": "$sample" } },
                { "$match": validator },
                { "$project": { "_id": 1 } },
            ],
            "cursor": {},
            // The only read concern of `$collStats`.
            "readConcern": { "level": "local" },
        };
        match self.list(command).await {
            Ok(Some(accepted_samples)) => {
                let accepted_ids: Vec<Option<&Bson>> = accepted_samples
                    .iter()
                    .map(|sample| sample.get("_id"))
                    .collect();
                let mut rejected_forms = Vec::new();
                for (form, document) in &samples {
                    if !accepted_ids.contains(&document.get("_id")) {
                        rejected_forms.push(*form);
                    }
                }
                if !rejected_forms.is_empty() {
                    let message = format!(
                        "the validator of the collection rejects {}: let it accept them, or set its validationAction \
                         to warn",
                        rejected_forms.join(", ")
                    );
                    inspection.faults.push(collection.fault(message));
                }
            }
            unknown => {
                // The server lacks a stage of the pipeline, or the user a right.
                tracing::debug!(?unknown, "a validator cannot be tested");
                let forms: Vec<&str> = samples.iter().map(|(form, _)| *form).collect();
                inspection.warnings.push(format!(
                    "the validator of the collection {} cannot be tested here: it must accept {}",
                    collection.name,
                    forms.join(", ")
                ));
            }
        }
    }

    /// Returns the rights on `collections` that the user lacks, such as `insert on purchases`.
    ///
    /// Every user may ask for their own rights. If the server does not report the rights, or has no
    /// access control, the result is empty, and the first write shows whether a right is missing.
    async fn missing_rights(&self, collections: &[StoreCollection]) -> Vec<String> {
        let status = doc! { "connectionStatus": 1, "showPrivileges": true };
        // An error here must not keep a service from starting.
        let Ok(reply) = self.run(status).await else {
            return Vec::new();
        };
        // Without a login, or if the server does not report rights, the reply contains none.
        let information = reply.get_document("authInfo");
        let privileges = information.and_then(|info| info.get_array("authenticatedUserPrivileges"));
        let Ok(privileges) = privileges else {
            return Vec::new();
        };
        if privileges.is_empty() {
            return Vec::new();
        }

        let mut missing_rights = Vec::new();
        for collection in collections {
            let granted = granted_actions(privileges, self.database.name(), &collection.name);
            for action in ACTIONS {
                if !granted.contains(action) && !granted.contains("anyAction") {
                    missing_rights.push(format!("{action} on {}", collection.name));
                }
            }
        }
        missing_rights
    }

    /// Runs a command that lists documents. Returns the documents of the first batch, or `None` if
    /// the user is not authorized.
    async fn list(&self, command: Document) -> Result<Option<Vec<Document>>> {
        let reply = match self.run(command).await {
            Err(error) if is_unauthorized(&error) => return Ok(None),
            reply => reply?,
        };
        let batch = reply
            .get_document("cursor")
            .and_then(|cursor| cursor.get_array("firstBatch"))
            .map_err(|invalid| {
                mongo_error(ErrorKind::Unavailable, "MongoDB sent an invalid response")
                    .with_source(invalid)
            })?;
        // A batch contains documents only.
        let documents = batch.iter().filter_map(Bson::as_document).cloned();
        Ok(Some(documents.collect()))
    }

    /// Runs a command that reads, within the timeout of queries.
    async fn run(&self, command: Document) -> Result<Document> {
        let run_command = |_collation| {
            let database = self.database.clone();
            let command = command.clone();
            async move { database.run_command(command).await }
        };
        self.query(self.options.query_timeout, run_command).await
    }
}

/// Returns the actions that `privileges` grant on a collection. Privileges on other resources, such
/// as the whole cluster, are passed over.
fn granted_actions<'a>(
    privileges: &'a [Bson],
    database: &str,
    collection: &str,
) -> BTreeSet<&'a str> {
    let mut granted = BTreeSet::new();
    for privilege in privileges.iter().filter_map(Bson::as_document) {
        let Ok(resource) = privilege.get_document("resource") else {
            continue;
        };
        // An empty name stands for all databases, or for all collections.
        let covers = |member: &str, name: &str| {
            resource
                .get_str(member)
                .is_ok_and(|granted| granted.is_empty() || granted == name)
        };
        let is_of_collection = covers("db", database) && covers("collection", collection);
        if !is_of_collection && !resource.get_bool("anyResource").unwrap_or(false) {
            continue;
        }
        let actions = privilege.get_array("actions").into_iter().flatten();
        granted.extend(actions.filter_map(Bson::as_str));
    }
    granted
}
