import de.bwaldvogel.mongo.bson.BsonRegularExpression;
import de.bwaldvogel.mongo.bson.Document;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;

/**
 * Lets conditions of equality ignore the case of texts, where the collation of a command or of its collection does.
 *
 * The library has no collations, so a text in a filter becomes a regular expression. That covers {a: "x"}, $eq, $in,
 * $and, $or and $nor. Order, ranges, $ne, uniqueness, groups and upserts keep the case.
 */
final class CaseFolding {
    private static final Set<String> OF_FILTERS = Set.of("$and", "$or", "$nor");

    private CaseFolding() {}

    /** The command with filters that ignore the case, if the collation does that. */
    static Call apply(Call call, Document ofCollection) {
        Document body = call.body().clone();
        boolean isFolded = folds(body, ofCollection);
        switch (call.name()) {
            case "find" -> replaceFilter(body, "filter", isFolded);
            case "count", "distinct" -> replaceFilter(body, "query", isFolded);
            case "aggregate" -> {
                List<Object> stages = new ArrayList<>();
                for (Document stage : call.documents("pipeline")) {
                    stages.add(replaceFilter(stage.clone(), "$match", isFolded));
                }
                body.put("pipeline", stages);
            }
            case "update" -> body.put("updates", elements(call.documents("updates"), ofCollection));
            case "delete" -> body.put("deletes", elements(call.documents("deletes"), ofCollection));
            default -> {
                return call;
            }
        }
        return call.with(call.name(), body);
    }

    private static List<Document> elements(List<Document> elements, Document ofCollection) {
        List<Document> changed = new ArrayList<>();
        for (Document element : elements) {
            // An upsert takes members of its document from the filter.
            boolean isFolded = folds(element, ofCollection) && !Boolean.TRUE.equals(element.get("upsert"));
            changed.add(replaceFilter(element.clone(), "q", isFolded));
        }
        return changed;
    }

    /** Whether the collation in force ignores the case: that has the strength 1 or 2, and 3 is the default. */
    private static boolean folds(Document command, Document ofCollection) {
        Document collation = command.get("collation") instanceof Document own ? own : ofCollection;
        boolean isSimple = collation == null || "simple".equals(collation.get("locale"));
        return !isSimple && collation.get("strength") instanceof Number strength && strength.intValue() < 3;
    }

    private static Document replaceFilter(Document document, String member, boolean isFolded) {
        if (isFolded && document.get(member) instanceof Document filter) {
            document.put(member, fold(filter));
        }
        return document;
    }

    private static Document fold(Document filter) {
        Document folded = new Document();
        filter.forEach((name, condition) -> {
            if (OF_FILTERS.contains(name)) {
                folded.put(name, ((List<?>) condition).stream().map(part -> fold((Document) part)).toList());
            } else {
                folded.put(name, foldCondition(condition));
            }
        });
        return folded;
    }

    private static Object foldCondition(Object condition) {
        if (condition instanceof String text) {
            return new BsonRegularExpression("^" + Pattern.quote(text) + "$", "i");
        }
        if (!(condition instanceof Document operators)) {
            return condition;
        }
        if (operators.size() == 1 && operators.containsKey("$eq")) {
            return foldCondition(operators.get("$eq"));
        }
        Document folded = operators.clone();
        if (operators.get("$in") instanceof List<?> values) {
            folded.put("$in", values.stream().map(CaseFolding::foldCondition).toList());
        }
        return folded;
    }
}
