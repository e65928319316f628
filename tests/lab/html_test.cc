#include "examples/lab/html.h"

#include <clocale>
#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "core/error.h"
#include "tests/lab/well_formed.h"

using namespace tapestry;
using namespace tapestry::lab;

TEST_CASE("text never becomes markup") {
  CHECK(escape_html("<script>alert('x') & \"y\"</script>") ==
        "&lt;script&gt;alert(&#39;x&#39;) &amp; &quot;y&quot;&lt;/script&gt;");
  CHECK(escape_html("Fréchet ± 95 %, 1 → 2") == "Fréchet ± 95 %, 1 → 2");
  const std::string replaced = "\xEF\xBF\xBD";
  CHECK(escape_html(std::string("a\0b\x1b[31m", 8)) == "a" + replaced + "b" + replaced + "[31m");
  CHECK(escape_html("\xC0\xAF") == replaced + replaced);                 // overlong slash
  CHECK(escape_html("\xED\xA0\x80").find(replaced) == 0);                // surrogate
  CHECK(escape_html("\xE2\x80\xAE") == replaced + replaced + replaced);  // right-to-left override
  CHECK(escape_html("caf\xE9") == "caf" + replaced);                     // Latin-1
  CHECK(escape_html("\xF0\x9F\x91\x95") == "\xF0\x9F\x91\x95");
}

TEST_CASE("the writer closes what it opens and refuses what it cannot close") {
  Html html;
  {
    const auto list = html.in("ul", {{"class", "a \"b\""}, {"data-n", 3}});
    html.element("li", "x < y").empty("br").text("z");
  }
  CHECK(html.str() ==
        "<ul class=\"a &quot;b&quot;\" data-n=\"3\"><li>x &lt; y</li>\n<br />z</ul>\n");
  CHECK(read_markup(html.str()).problem.empty());
  Html open;
  open.open("p");
  CHECK_THROWS_AS(open.str(), Error);
  CHECK_THROWS_AS(Html().raw_element("script", "document.write('</script>')"), Error);
}

TEST_CASE("base64 of the test vectors of RFC 4648") {
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : vectors) CHECK(base64(bytes) == text);
  CHECK(base64(std::string("\xff\x00\xfe", 3)) == "/wD+");
}

TEST_CASE("numbers read the same in every locale") {
  // The program never changes its locale, but a program around the library may have.
  std::setlocale(LC_ALL, "de_DE.UTF-8");
  CHECK(number_text(0.8612345) == "0.8612");
  CHECK(number_text(1234567, 3) == "1234567");  // digits before the point are never dropped
  CHECK(number_text(12345678, 3) == "1.23e7");
  CHECK(number_text(-0.00001234, 2) == "-1.2e-5");
  CHECK(number_text(1e-300, 3) == "1e-300");
  CHECK(number_text(2.50, 4) == "2.5");
  CHECK(number_text(0.99999, 3) == "1");
  CHECK(number_text(9.9999e6, 3) == "1e7");
  CHECK(number_text(41231231, 9) == "41231231");
  CHECK(number_text(-0.0) == "0");
  CHECK(number_text(std::nan("")) == "–");
  CHECK(number_text(std::numeric_limits<double>::infinity()) == "∞");
  CHECK(fixed_text(2.345, 1) == "2.3");
  CHECK(fixed_text(-0.001, 2) == "0.00");
  CHECK(fixed_text(1e300, 0).size() == 301);
  CHECK(count_text(1234567) == "1,234,567");
  CHECK(count_text(999) == "999");
  CHECK(count_text(-1000) == "-1,000");
  CHECK(count_text(std::nan("")) == "–");
  std::setlocale(LC_ALL, "C");
}
