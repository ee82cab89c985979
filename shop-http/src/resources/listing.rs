//! `GET /getAllUserBuys/{x}`, `GET /purchases/{x}` and `GET /buyList/{x}`: one user's purchases, by
//! id or by name. `GET /purchases`: all users' purchases.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use shop_core::Invalid;
use shop_core::ports::{Cursor, ListOrder, Page, PageLimit, PageRequest, Selector, Summary};

use crate::auth::{Action, Caller};
use crate::compat::{By, ItemForm, ListingForm, RequestDialect, View};
use crate::header_names::FOUND_BY;
use crate::permits::RequestPermit;
use crate::request::query::Wait;
use crate::request::{PathText, Query};
use crate::resources::listing_body::{self, Envelope, StreamForm, page_body};
use crate::response::validation_error::{Location, ValidationError};
use crate::response::{HttpError, HttpResult};
use crate::service::PurchaseService;

/// What the handlers get of a request, besides the text in its path.
type Request = (
    State<Arc<PurchaseService>>,
    RequestDialect,
    Caller,
    RequestPermit,
    OriginalUri,
);

/// A request for a listing.
struct ListingRequest {
    /// The possible meanings of the text in the path, in order of precedence.
    candidates: Vec<Selector>,
    envelope: Envelope,
    request: PageRequest,
    /// The sums of the whole listing, if the cursor has them.
    sums: Option<Summary>,
    /// Whether the request is for a page rather than the whole listing.
    is_page: bool,
    wait: Wait,
}

pub(crate) async fn get(request: Request, path: PathText) -> HttpResult {
    let RequestDialect(dialect) = request.1;
    list_user(request, dialect.listing, path).await
}

/// `GET /buyList/{username}`.
pub(crate) async fn buy_list(request: Request, path: PathText) -> HttpResult {
    let RequestDialect(dialect) = request.1;
    list_user(
        request,
        ListingForm {
            view: View::Status,
            ..dialect.listing
        },
        path,
    )
    .await
}

/// `GET /purchases`: an array, newest first, in the dialects that have it.
pub(crate) async fn list_all(request: Request) -> HttpResult {
    let RequestDialect(dialect) = request.1;
    if !dialect.is_open {
        return Err(HttpError::NO_ROUTE);
    }
    let form = ListingForm {
        view: View::List,
        order: ListOrder::NewestFirst,
        nothing: StatusCode::OK,
        cap: Some(500),
        ..dialect.listing
    };
    list(&request, form, None).await
}

async fn list_user(request: Request, form: ListingForm, path: PathText) -> HttpResult {
    let who = path
        .0
        .ok_or_else(|| Location::Path("userid").invalid("must be UTF-8 text"))?;
    list(&request, form, Some(who)).await
}

impl ListingRequest {
    /// A listing of one user, or of all, in `form`, changed by the parameters.
    fn new(
        form: ListingForm,
        item: ItemForm,
        who: Option<String>,
        query: &mut Query,
    ) -> HttpResult<Self> {
        let limit = form.cap.and_then(|cap| PageLimit::new(cap).ok());
        let is_page = limit.is_some() || query.get("limit").or(query.get("cursor")).is_some();
        let by = who.as_ref().and_then(|_| query.by().or(form.by));
        let view = query.view();
        let request = query.page_of_all_times(form.order, limit.unwrap_or(PageLimit::DEFAULT));
        let (mut request, wait) = query.finish(Some(request))?;
        let candidates = match &who {
            Some(who) => candidates(who, by)?,
            None => vec![Selector::All],
        };
        let envelope = Envelope {
            view: view.unwrap_or(form.view),
            item,
            who: who.unwrap_or_default(),
            requested: by.unwrap_or(By::UserId),
            found: None,
        };
        if !is_page {
            request.limit = listing_body::FIRST_PAGE;
        }
        let (cursor, sums) = request.cursor.map(without_sums).unzip();
        request.cursor = cursor;
        Ok(Self {
            candidates,
            envelope,
            request,
            sums: sums.flatten(),
            is_page,
            wait,
        })
    }
}

/// The possible meanings of the text: a user's id, or a user's name.
fn candidates(who: &str, by: Option<By>) -> Result<Vec<Selector>, ValidationError> {
    let invalid = |name| move |error: Invalid| Location::Path(name).invalid(error.reason());
    let id = who.parse().map(Selector::User).map_err(invalid("userid"));
    let name = who.parse().map(Selector::Name).map_err(invalid("username"));
    match by {
        Some(By::UserId) => Ok(vec![id?]),
        Some(By::UserName) => Ok(vec![name?]),
        None => match (id, name) {
            (Ok(id), Ok(name)) => Ok(vec![id, name]),
            // Too long for an id, but not for a name.
            (Err(_), Ok(name)) => Ok(vec![name]),
            (id, Err(_)) => Ok(vec![id?]),
        },
    }
}

async fn list(
    (State(purchases), RequestDialect(dialect), caller, permit, OriginalUri(uri)): &Request,
    form: ListingForm,
    who: Option<String>,
) -> HttpResult {
    let mut query = Query::new(uri, Query::LEGACY)?;
    let mut listing = ListingRequest::new(form, dialect.item, who, &mut query)?;
    listing.candidates = purchases.policy.readable(caller, &listing.candidates)?;
    let pending = purchases
        .wait(caller, permit, listing.wait, &listing.candidates)
        .await?;
    let found = find(purchases, &listing).await?;
    let found_selector = found.as_ref().map(|(selector, _)| selector);
    if let Some(selector) = found_selector.or(listing.candidates.last()) {
        caller.note(&Action::ReadPurchases(selector), true);
    }
    listing.envelope.found = found_selector.map(|selector| match selector {
        Selector::Name(_) => By::UserName,
        _ => By::UserId,
    });
    let found_by = listing
        .envelope
        .found
        .filter(|_| listing.candidates.len() > 1);
    let status = if found.is_some() {
        StatusCode::OK
    } else {
        form.nothing
    };
    let counts = found.is_some() && listing.envelope.view.counts();
    let (selector, mut page) = found.unwrap_or_else(|| (Selector::All, Page::default()));
    let mut link = None;
    let body = if listing.is_page {
        let summary = match listing.sums {
            _ if !counts => Summary::default(),
            Some(sums) => sums,
            None => {
                purchases
                    .run_query(purchases.query.summary(&selector))
                    .await?
            }
        };
        if counts {
            page.next = page.next.map(|next| with_sums(&next, summary));
        }
        if let Some(next) = &page.next {
            let next = query.for_next_page(listing.request.limit, next);
            let next = format!("<{}?{next}>; rel=\"next\"", uri.path());
            link = Some([(header::LINK, next)]);
        }
        page_body(&listing.envelope, &page, summary)
    } else {
        let form = StreamForm::Envelope(listing.envelope);
        listing_body::whole(
            Arc::clone(purchases),
            form,
            selector,
            listing.request,
            &page,
        )?
    };
    let media_type = [(header::CONTENT_TYPE, "application/json")];
    let found_by = found_by.map(|by| [(FOUND_BY, by.name())]);
    Ok((status, pending, media_type, link, found_by, body).into_response())
}

/// The first page of the first candidate with purchases, or the page of the candidate that the
/// cursor belongs to.
async fn find(
    purchases: &PurchaseService,
    listing: &ListingRequest,
) -> HttpResult<Option<(Selector, Page)>> {
    let cursor = listing.request.cursor.as_ref();
    for candidate in &listing.candidates {
        if cursor.is_some_and(|cursor| !cursor.belongs_to(candidate, listing.request.range)) {
            continue;
        }
        let page = purchases.page(candidate, &listing.request).await?;
        if cursor.is_some() || !page.items.is_empty() {
            return Ok(Some((candidate.clone(), page)));
        }
    }
    if let (Some(_), Some(first)) = (cursor, listing.candidates.first()) {
        // The store rejects a cursor of another listing.
        purchases.page(first, &listing.request).await?;
    }
    Ok(None)
}

/// Separates a cursor and the sums of the listing, which are added up for the first page only.
/// Cursors do not contain it.
const SEPARATOR: char = '~';

/// The cursor with the sums of the whole listing.
fn with_sums(cursor: &Cursor, sums: Summary) -> Cursor {
    Cursor::from_text(format!(
        "{}{SEPARATOR}{}{SEPARATOR}{}",
        cursor.as_str(),
        sums.count,
        sums.total_spent
    ))
}

/// The cursor without sums, and the sums if it had them.
fn without_sums(cursor: Cursor) -> (Cursor, Option<Summary>) {
    let Some((text, sums)) = cursor.as_str().split_once(SEPARATOR) else {
        return (cursor, None);
    };
    let sums = sums.split_once(SEPARATOR).and_then(|(count, total_spent)| {
        Some(Summary::new(count.parse().ok()?, total_spent.parse().ok()?))
    });
    (Cursor::from_text(text.to_owned()), sums)
}
