//! Listings of the short paths: of one user, by id or by name, or of all users.
//!
//! | handler | path |
//! |---|---|
//! | [`list_user`] | `GET /getAllUserBuys/{who}`, `GET /purchases/{who}` |
//! | [`list_all_users`] | `GET /purchases` |
//!
//! A listing without parameters is whole, and is streamed. The parameters `limit` and `cursor`
//! request one page.

use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use shop_core::Invalid;
use shop_core::ports::{Cursor, ListOrder, Page, PageLimit, PageRequest, Selector, Summary};

use super::ShortPathHandlers;
use super::envelope::Envelope;
use super::form::{ListingForm, UserKey, View};
use crate::auth::{Action, Caller};
use crate::header_names::FOUND_BY;
use crate::permits::RequestPermit;
use crate::request::Query;
use crate::request::path::path_parameter;
use crate::request::query::Wait;
use crate::resources::listing_body::{FIRST_PAGE, stream_listing};
use crate::response::{HttpError, HttpResult, Location, ValidationError};
use crate::routes::mount::original_uri;
use crate::service::PurchaseService;

/// Handles `GET /getAllUserBuys/{who}` and `GET /purchases/{who}`: lists the purchases of a user.
pub(super) async fn list_user(handlers: ShortPathHandlers, head: Parts) -> HttpResult {
    let user = path_parameter(&head)
        .ok_or_else(|| Location::Path("userid").invalid("must be UTF-8 text"))?;
    let listing_form = handlers.form.listing;
    handlers.list(listing_form, Some(user), head).await
}

/// The number of purchases in a listing of all users without the parameter `limit`, as
/// `docs/http-api.md` says.
const ALL_USERS_LIMIT: u16 = 500;

/// Handles `GET /purchases`: lists the newest purchases of all users, as an array.
///
/// # Errors
/// 404 if the form of the short paths (`lists_all_users`) has no such listing.
pub(super) async fn list_all_users(handlers: ShortPathHandlers, head: Parts) -> HttpResult {
    if !handlers.form.lists_all_users {
        return Err(HttpError::NO_ROUTE);
    }
    let listing_form = ListingForm {
        view: View::List,
        order: ListOrder::NewestFirst,
        empty_status: StatusCode::OK,
        default_limit: Some(ALL_USERS_LIMIT),
        ..handlers.form.listing
    };
    let all_users = None;
    handlers.list(listing_form, all_users, head).await
}

/// A request for a listing.
struct ListingRequest {
    /// The possible meanings of the text in the path, in order of precedence.
    candidates: Vec<Selector>,
    envelope: Envelope,
    page_request: PageRequest,
    /// The count and the sum of the whole listing, if the cursor contains them.
    summary: Option<Summary>,
    /// Whether the request is for a page instead of the whole listing.
    is_page: bool,
    wait: Wait,
}

impl ShortPathHandlers {
    /// Lists the purchases of `user`, which is a user id or a user name. Without `user`, lists the
    /// purchases of all users. `listing_form` is the form of a listing without query parameters.
    ///
    /// # Errors
    /// - 422 for invalid parameters, or a text in the path that is neither an id nor a name
    /// - 403 if the policy denies all meanings of the text
    /// - The errors of a wait and of a query
    async fn list(
        &self,
        listing_form: ListingForm,
        user: Option<String>,
        head: Parts,
    ) -> HttpResult {
        let purchases = &self.purchases;
        let uri = original_uri(&head.uri, &head.extensions).clone();
        let mut query = Query::new(&uri, Query::SHORT_PATHS)?;
        let mut listing = self.read_listing_request(listing_form, user, &mut query)?;

        let caller = Caller::from_extensions(&head.extensions);
        let permit = RequestPermit::from_extensions(&head.extensions)?;
        // The head is not needed during the wait, and many requests may wait.
        drop(head);
        listing.candidates = purchases
            .policy
            .readable_selectors(&caller, &listing.candidates)?;
        let pending = purchases
            .wait(&caller, &permit, listing.wait, &listing.candidates)
            .await?;

        let found = listing.find(purchases).await?;
        let found_selector = found.as_ref().map(|(selector, _page)| selector);
        if let Some(selector) = found_selector.or(listing.candidates.last()) {
            let is_allowed = true;
            caller.audit_action(&Action::ReadPurchases(selector), is_allowed);
        }
        listing.envelope.found_key = found_selector.map(key_of);
        let found_by = listing.found_by_header();

        let mut status = listing_form.empty_status;
        let mut selector = Selector::All;
        let mut page = Page::default();
        if let Some((found_selector, found_page)) = found {
            status = StatusCode::OK;
            selector = found_selector;
            page = found_page;
            listing.add_summary(&selector, &mut page, purchases).await?;
        }

        let mut link = None;
        let body = if listing.is_page {
            if let Some(next_cursor) = &page.next {
                let next_query = query.next_page_query(listing.page_request.limit, next_cursor);
                let link_value = format!("<{}?{next_query}>; rel=\"next\"", uri.path());
                link = Some([(header::LINK, link_value)]);
            }
            listing.envelope.write_page(&page)
        } else {
            stream_listing(
                Arc::clone(purchases),
                listing.envelope,
                selector,
                listing.page_request,
                &page,
            )?
        };
        let media_type = [(header::CONTENT_TYPE, "application/json")];
        Ok((status, pending, media_type, link, found_by, body).into_response())
    }

    /// Reads a request for a listing. The query parameters replace what `listing_form` says.
    ///
    /// # Errors
    /// 422 for invalid parameters, or a text in the path that is neither an id nor a name.
    fn read_listing_request(
        &self,
        listing_form: ListingForm,
        user: Option<String>,
        query: &mut Query,
    ) -> HttpResult<ListingRequest> {
        // A limit that is not valid counts as none: the form is a constant of the program.
        let default_limit = listing_form
            .default_limit
            .and_then(|limit| PageLimit::new(limit).ok());
        let is_page = default_limit.is_some()
            || query.get("limit").is_some()
            || query.get("cursor").is_some();

        let key = match user {
            Some(_) => read_key(query).or(listing_form.key),
            None => None,
        };
        let view = read_view(query);
        let page_request = query.page_of_all_times(
            listing_form.order,
            default_limit.unwrap_or(PageLimit::DEFAULT),
        );
        let (mut page_request, wait) = query.finish(Some(page_request))?;

        let candidates = match &user {
            Some(user) => read_candidates(user, key)?,
            None => vec![Selector::All],
        };
        if !is_page {
            page_request.limit = FIRST_PAGE;
        }
        let summary = take_summary(&mut page_request);
        Ok(ListingRequest {
            candidates,
            envelope: Envelope {
                view: view.unwrap_or(listing_form.view),
                purchase_form: self.form.purchase,
                requested_text: user.unwrap_or_default(),
                requested_key: key.unwrap_or(UserKey::UserId),
                found_key: None,
                summary: Summary::default(),
                has_purchases: false,
            },
            page_request,
            summary,
            is_page,
            wait,
        })
    }
}

impl ListingRequest {
    /// Returns the candidate that is listed, with the requested page. With a cursor, this is the
    /// candidate that the cursor belongs to. Without one, it is the first candidate with purchases.
    /// Returns `None` if no candidate has purchases.
    ///
    /// # Errors
    /// The errors of a query; 422 for a cursor of another listing.
    async fn find(&self, purchases: &PurchaseService) -> HttpResult<Option<(Selector, Page)>> {
        let request = &self.page_request;
        let cursor = request.cursor.as_ref();
        for candidate in &self.candidates {
            if cursor.is_some_and(|cursor| !cursor.belongs_to(candidate, request.range)) {
                continue;
            }
            let page = purchases.page(candidate, request).await?;
            if cursor.is_some() || !page.items.is_empty() {
                return Ok(Some((candidate.clone(), page)));
            }
        }

        // A cursor that belongs to no candidate is an error, which the store returns.
        if cursor.is_some()
            && let Some(first_candidate) = self.candidates.first()
        {
            purchases.page(first_candidate, request).await?;
        }
        Ok(None)
    }

    /// Returns the header that says whether the text in the path was found as an id or as a name, if
    /// it could be both.
    fn found_by_header(&self) -> Option<[(HeaderName, &'static str); 1]> {
        let found_key = self.envelope.found_key?;
        (self.candidates.len() > 1).then(|| [(FOUND_BY, found_key.name())])
    }

    /// Adds the count and the sum of the whole listing of `selector` to the envelope, and to the
    /// cursor of the next page, if the response is a `page` that shows them. The first page adds them
    /// up, and the cursors of the further pages contain them.
    ///
    /// # Errors
    /// The errors of a query.
    async fn add_summary(
        &mut self,
        selector: &Selector,
        page: &mut Page,
        purchases: &PurchaseService,
    ) -> HttpResult<()> {
        if !self.is_page || !self.envelope.view.has_summary() {
            return Ok(());
        }
        let summary = match self.summary {
            Some(summary) => summary,
            None => purchases.summary(selector).await?,
        };
        let store_cursor = page.next.take();
        page.next = store_cursor.map(|cursor| cursor_with_summary(&cursor, summary));
        self.envelope.summary = summary;
        Ok(())
    }
}

/// Returns the part of a user by which `selector` selects.
const fn key_of(selector: &Selector) -> UserKey {
    match selector {
        Selector::Name(_) => UserKey::UserName,
        _ => UserKey::UserId,
    }
}

/// Reads the parameter `by`: whether the text in the path is a user id or a user name.
fn read_key(query: &mut Query) -> Option<UserKey> {
    let words = [UserKey::UserId, UserKey::UserName].map(|key| (key.name(), key));
    query.read_word("by", &words, "must be userid or username")
}

/// Reads the parameter `view`: the members around the purchases.
fn read_view(query: &mut Query) -> Option<View> {
    let words = [
        ("summary", View::Summary),
        ("list", View::List),
        ("user", View::Owner),
    ];
    query.read_word("view", &words, "must be summary, list or user")
}

/// Returns the possible meanings of the text in a path: a user's id, or a user's name.
///
/// # Errors
/// The error of a text that is neither, or not what `key` says.
fn read_candidates(text: &str, key: Option<UserKey>) -> Result<Vec<Selector>, ValidationError> {
    let id = text
        .parse()
        .map(Selector::User)
        .map_err(|error: Invalid| Location::Path("userid").invalid(error.reason()));
    let name = text
        .parse()
        .map(Selector::Name)
        .map_err(|error: Invalid| Location::Path("username").invalid(error.reason()));
    match key {
        Some(UserKey::UserId) => Ok(vec![id?]),
        Some(UserKey::UserName) => Ok(vec![name?]),
        None => match (id, name) {
            (Ok(id), Ok(name)) => Ok(vec![id, name]),
            // A text may be too long for an id, but not for a name.
            (Err(_), Ok(name)) => Ok(vec![name]),
            (id, Err(_)) => Ok(vec![id?]),
        },
    }
}

/// The character between the cursor of the store, the count and the sum of a listing. The cursors of
/// stores do not contain this character.
const SEPARATOR: char = '~';

/// Returns `cursor` with the count and the sum of the whole listing, so that they are added up for
/// the first page only.
fn cursor_with_summary(cursor: &Cursor, summary: Summary) -> Cursor {
    Cursor::from_text(format!(
        "{}{SEPARATOR}{}{SEPARATOR}{}",
        cursor.as_str(),
        summary.count,
        summary.total_spent
    ))
}

/// Takes the count and the sum out of the cursor of `request`, if the cursor contains them. The
/// cursor of the store remains.
fn take_summary(request: &mut PageRequest) -> Option<Summary> {
    let (store_cursor, summary_text) = request.cursor.as_ref()?.as_str().split_once(SEPARATOR)?;
    let summary = parse_summary(summary_text);
    request.cursor = Some(Cursor::from_text(store_cursor.to_owned()));
    summary
}

/// Parses a count and a sum. Returns `None` if a client changed them: they are then added up again.
fn parse_summary(text: &str) -> Option<Summary> {
    let (count, total_spent) = text.split_once(SEPARATOR)?;
    Some(Summary::new(count.parse().ok()?, total_spent.parse().ok()?))
}
