"""What data/questions.py asks about: facts and words, checked by hand.

What is disputed, may change soon or has two good answers that are not both listed was left out. A table is written
`key: value; key: value`; where values are lists, each item is one question. " | " stands
between answers that are equally right.
"""

from __future__ import annotations

CAPITALS = """
Albania: Tirana; Austria: Vienna; Belarus: Minsk; Belgium: Brussels; Bosnia and Herzegovina: Sarajevo;
Bulgaria: Sofia; Croatia: Zagreb; the Czech Republic: Prague; Denmark: Copenhagen; Estonia: Tallinn;
Finland: Helsinki; France: Paris; Germany: Berlin; Greece: Athens; Hungary: Budapest; Iceland: Reykjavik | Reykjavík;
Ireland: Dublin; Italy: Rome; Latvia: Riga; Liechtenstein: Vaduz; Lithuania: Vilnius; Malta: Valletta;
Moldova: Chisinau | Chișinău; Montenegro: Podgorica; North Macedonia: Skopje; Norway: Oslo; Poland: Warsaw;
Portugal: Lisbon; Romania: Bucharest; Russia: Moscow; Serbia: Belgrade; Slovakia: Bratislava; Slovenia: Ljubljana;
Spain: Madrid; Sweden: Stockholm; Turkey: Ankara; the United Kingdom: London; Armenia: Yerevan; Azerbaijan: Baku;
Bahrain: Manama; Bangladesh: Dhaka; Bhutan: Thimphu; Brunei: Bandar Seri Begawan; Cambodia: Phnom Penh;
China: Beijing; East Timor: Dili; India: New Delhi; Iran: Tehran; Iraq: Baghdad; Japan: Tokyo; Jordan: Amman;
Kyrgyzstan: Bishkek; Laos: Vientiane; Lebanon: Beirut; the Maldives: Malé | Male; Mongolia: Ulaanbaatar | Ulan Bator;
Nepal: Kathmandu; North Korea: Pyongyang; Oman: Muscat; Pakistan: Islamabad; the Philippines: Manila; Qatar: Doha;
Saudi Arabia: Riyadh; South Korea: Seoul; Syria: Damascus; Tajikistan: Dushanbe; Thailand: Bangkok;
Turkmenistan: Ashgabat; the United Arab Emirates: Abu Dhabi; Uzbekistan: Tashkent; Vietnam: Hanoi; Algeria: Algiers;
Angola: Luanda; Botswana: Gaborone; Burkina Faso: Ouagadougou; Cameroon: Yaoundé | Yaounde; Cape Verde: Praia;
Eritrea: Asmara; the Central African Republic: Bangui; Egypt: Cairo; Ethiopia: Addis Ababa; Gabon: Libreville;
the Gambia: Banjul; Ghana: Accra; Kenya: Nairobi; Lesotho: Maseru; Liberia: Monrovia; Libya: Tripoli;
Madagascar: Antananarivo; Malawi: Lilongwe; Mali: Bamako; Mauritania: Nouakchott; Mauritius: Port Louis;
Morocco: Rabat; Mozambique: Maputo; Namibia: Windhoek; Niger: Niamey; Nigeria: Abuja; Rwanda: Kigali; Senegal: Dakar;
Seychelles: Victoria; Sierra Leone: Freetown; Somalia: Mogadishu; South Sudan: Juba; Togo: Lomé | Lome;
Tunisia: Tunis; Uganda: Kampala; Zambia: Lusaka; Zimbabwe: Harare; Argentina: Buenos Aires; the Bahamas: Nassau;
Barbados: Bridgetown; Belize: Belmopan; Brazil: Brasília | Brasilia; Canada: Ottawa; Chile: Santiago;
Colombia: Bogotá | Bogota; Costa Rica: San José | San Jose; Cuba: Havana; the Dominican Republic: Santo Domingo;
Ecuador: Quito; El Salvador: San Salvador; Guyana: Georgetown; Haiti: Port-au-Prince; Honduras: Tegucigalpa;
Jamaica: Kingston; Nicaragua: Managua; Paraguay: Asunción | Asuncion; Peru: Lima; Saint Lucia: Castries;
Suriname: Paramaribo; Trinidad and Tobago: Port of Spain; the United States: Washington; Uruguay: Montevideo;
Venezuela: Caracas; Australia: Canberra; Fiji: Suva; New Zealand: Wellington; Papua New Guinea: Port Moresby;
Samoa: Apia; the Solomon Islands: Honiara; Tuvalu: Funafuti; Vanuatu: Port Vila
"""
# Other names of a country that are as good as the one above.
ALSO = {
    "Bosnia and Herzegovina": "Bosnia",
    "Czech Republic": "Czechia",
    "East Timor": "Timor-Leste",
    "Cape Verde": "Cabo Verde",
    "Netherlands": "Holland",
    "Trinidad and Tobago": "Trinidad",
    "Turkey": "Türkiye",
    "Russia": "Russian Federation",
    "United Arab Emirates": "UAE | Emirates",
    "United Kingdom": "UK | U.K. | Britain | England",
    "United States": "USA | US | U.S. | America",
    "England": "UK | U.K. | Britain | United Kingdom",
    "Scotland": "UK | U.K. | Britain | United Kingdom",
    "Ivory Coast": "Côte d'Ivoire | Cote d'Ivoire",
}
STATES = """
Alabama: Montgomery; Alaska: Juneau; Arizona: Phoenix; Arkansas: Little Rock; California: Sacramento;
Colorado: Denver; Connecticut: Hartford; Delaware: Dover; Florida: Tallahassee; Georgia: Atlanta; Hawaii: Honolulu;
Idaho: Boise; Illinois: Springfield; Indiana: Indianapolis; Iowa: Des Moines; Kansas: Topeka; Kentucky: Frankfort;
Louisiana: Baton Rouge; Maine: Augusta; Maryland: Annapolis; Massachusetts: Boston; Michigan: Lansing;
Minnesota: Saint Paul | St. Paul; Mississippi: Jackson; Missouri: Jefferson City; Montana: Helena; Nebraska: Lincoln;
Nevada: Carson City; New Hampshire: Concord; New Jersey: Trenton; New Mexico: Santa Fe; New York: Albany;
North Carolina: Raleigh; North Dakota: Bismarck; Ohio: Columbus; Oklahoma: Oklahoma City; Oregon: Salem;
Pennsylvania: Harrisburg; Rhode Island: Providence; South Carolina: Columbia; South Dakota: Pierre;
Tennessee: Nashville; Texas: Austin; Utah: Salt Lake City; Vermont: Montpelier; Virginia: Richmond;
Washington: Olympia; West Virginia: Charleston; Wisconsin: Madison; Wyoming: Cheyenne
"""
CITIES = """
Germany: Munich, Hamburg, Cologne, Frankfurt, Stuttgart, Dresden, Leipzig, Nuremberg;
France: Lyon, Marseille, Toulouse, Bordeaux, Lille, Strasbourg, Nantes;
Italy: Milan, Naples, Turin, Venice, Florence, Bologna, Genoa, Palermo, Verona, Pisa;
Spain: Barcelona, Seville, Bilbao, Malaga, Zaragoza; Portugal: Porto, Coimbra; Austria: Salzburg, Innsbruck, Graz;
England: Manchester, Liverpool, Leeds, Sheffield; Scotland: Edinburgh, Glasgow; Ireland: Galway, Limerick;
Netherlands: Rotterdam, Utrecht, Eindhoven, Amsterdam; Belgium: Antwerp, Ghent, Bruges;
Switzerland: Zurich, Geneva, Basel, Lausanne; Poland: Krakow, Gdansk, Wroclaw, Poznan; Czech Republic: Brno, Ostrava;
Hungary: Debrecen; Croatia: Dubrovnik; Greece: Thessaloniki, Patras; Sweden: Gothenburg, Uppsala;
Norway: Bergen, Trondheim, Stavanger; Denmark: Aarhus, Odense; Finland: Tampere, Turku;
Russia: Saint Petersburg, Vladivostok, Novosibirsk; Turkey: Istanbul, Izmir, Antalya; Iran: Isfahan, Shiraz, Tabriz;
Iraq: Basra, Mosul; Saudi Arabia: Jeddah, Mecca, Medina; United Arab Emirates: Dubai; Kazakhstan: Almaty;
India: Mumbai, Kolkata, Chennai, Bangalore, Jaipur, Pune, Ahmedabad, Agra; Bangladesh: Chittagong; Nepal: Pokhara;
Pakistan: Karachi, Lahore, Peshawar, Faisalabad; Sri Lanka: Colombo, Kandy; Thailand: Chiang Mai, Phuket;
Vietnam: Ho Chi Minh City, Da Nang; Malaysia: Kuala Lumpur; Indonesia: Jakarta, Surabaya, Bandung;
Philippines: Cebu, Davao, Quezon City; Uzbekistan: Samarkand, Bukhara; South Korea: Busan, Incheon, Daegu;
China: Shanghai, Guangzhou, Shenzhen, Wuhan, Chengdu, Nanjing, Tianjin, Hangzhou, Harbin;
Japan: Osaka, Kyoto, Nagoya, Yokohama, Sapporo, Hiroshima, Nagasaki, Kobe, Fukuoka;
Egypt: Alexandria, Luxor, Giza, Aswan; Morocco: Casablanca, Marrakesh, Tangier; Algeria: Oran; Tunisia: Sfax;
Libya: Benghazi; Nigeria: Lagos, Kano, Ibadan; Ghana: Kumasi; Kenya: Mombasa, Kisumu; Uganda: Entebbe;
Tanzania: Dar es Salaam, Arusha; South Africa: Johannesburg, Durban, Cape Town, Pretoria, Soweto; Mali: Timbuktu;
Zimbabwe: Bulawayo; Ivory Coast: Abidjan; Cameroon: Douala; Mozambique: Beira; Sudan: Omdurman;
Canada: Toronto, Vancouver, Montreal, Calgary, Edmonton, Winnipeg; United States: Chicago, Houston, Seattle,
Philadelphia, Detroit, Las Vegas, Los Angeles, San Francisco, Miami, Dallas;
Mexico: Monterrey, Tijuana, Acapulco, Oaxaca; Ecuador: Guayaquil; Bolivia: Cochabamba, Sucre; Jamaica: Montego Bay;
Brazil: Sao Paulo, Rio de Janeiro, Recife, Fortaleza, Manaus, Curitiba, Porto Alegre; Chile: Valparaiso, Antofagasta;
Argentina: Rosario, Mendoza, La Plata, Ushuaia; Peru: Cusco, Arequipa, Iquitos; Colombia: Medellin, Barranquilla;
Venezuela: Maracaibo; Australia: Sydney, Melbourne, Brisbane, Adelaide, Cairns, Hobart;
New Zealand: Auckland, Christchurch, Dunedin
"""
# In the order of their atomic numbers.
ELEMENTS = """
H hydrogen, He helium, Li lithium, Be beryllium, B boron, C carbon, N nitrogen, O oxygen, F fluorine, Ne neon,
Na sodium, Mg magnesium, Al aluminum, Si silicon, P phosphorus, S sulfur, Cl chlorine, Ar argon, K potassium,
Ca calcium, Sc scandium, Ti titanium, V vanadium, Cr chromium, Mn manganese, Fe iron, Co cobalt, Ni nickel,
Cu copper, Zn zinc, Ga gallium, Ge germanium, As arsenic, Se selenium, Br bromine, Kr krypton, Rb rubidium,
Sr strontium, Y yttrium, Zr zirconium, Nb niobium, Mo molybdenum, Tc technetium, Ru ruthenium, Rh rhodium,
Pd palladium, Ag silver, Cd cadmium, In indium, Sn tin, Sb antimony, Te tellurium, I iodine, Xe xenon, Cs cesium,
Ba barium, La lanthanum, Ce cerium, Pr praseodymium, Nd neodymium, Pm promethium, Sm samarium, Eu europium,
Gd gadolinium, Tb terbium, Dy dysprosium, Ho holmium, Er erbium, Tm thulium, Yb ytterbium, Lu lutetium, Hf hafnium,
Ta tantalum, W tungsten, Re rhenium, Os osmium, Ir iridium, Pt platinum, Au gold, Hg mercury, Tl thallium, Pb lead,
Bi bismuth, Po polonium, At astatine, Rn radon, Fr francium, Ra radium, Ac actinium, Th thorium, Pa protactinium,
U uranium
"""
WORD_SYMBOLS = {"As", "At", "Be", "He", "I", "In", "Pa", "Er", "S"}  # also words of an ordinary sentence
SCIENCES = """
plants: botany; animals: zoology; rocks: geology | petrology | lithology; living things: biology;
the mind: psychology; the weather: meteorology; earthquakes: seismology; insects: entomology; birds: ornithology;
fish: ichthyology; fossils: paleontology | palaeontology; the heart: cardiology; the skin: dermatology;
the nervous system: neurology | neuroscience; blood: hematology | haematology; cancer: oncology; viruses: virology;
fungi: mycology; cells: cytology | cell biology; volcanoes: volcanology | vulcanology; caves: speleology;
stars and planets: astronomy; human societies: sociology; heredity: genetics; handwriting: graphology;
poisons: toxicology; bones: osteology; ancient remains: archaeology | archeology; diseases: pathology;
crime: criminology; wine: oenology | enology; the oceans: oceanography; maps: cartography;
words and their origins: etymology; flags: vexillology; algae: phycology; reptiles and amphibians: herpetology;
microscopic life: microbiology; teeth: odontology | dentistry; tissues: histology; parasites: parasitology;
the immune system: immunology; old age: gerontology | geriatrics; the eye: ophthalmology; sound: acoustics;
coins: numismatics; trees: dendrology; shells: conchology; spiders: arachnology; mammals: mammalogy;
the kidneys: nephrology | urology; soil: pedology | soil science | edaphology; glaciers: glaciology;
climate: climatology | climate science; fruit: pomology; bacteria: bacteriology; hormones: endocrinology;
primates: primatology; family history: genealogy; whales: cetology
"""
PEOPLE = """
teaches: teacher; sings: singer; paints: painter; bakes: baker; drives: driver; writes: writer | author;
dances: dancer; runs: runner; swims: swimmer; builds: builder; farms: farmer; hunts: hunter;
fishes: fisher | fisherman; acts: actor; plays the piano: pianist; plays the violin: violinist;
plays the guitar: guitarist; plays the drums: drummer; flies a plane: pilot; cuts hair: barber | hairdresser;
repairs cars: mechanic; grows crops: farmer; sells meat: butcher; works with wood: carpenter; repairs pipes: plumber;
treats teeth: dentist; treats animals: veterinarian | vet; designs buildings: architect; writes poems: poet;
writes plays: playwright | dramatist; takes photographs: photographer; puts out fires: firefighter | fireman;
makes clothes: tailor | seamstress | dressmaker; makes sculptures: sculptor; studies the stars: astronomer;
studies plants: botanist; explores space: astronaut | cosmonaut; leads an orchestra: conductor;
translates texts: translator; writes news: journalist | reporter; judges in a court: judge; mines coal: miner;
invents things: inventor; discovers new lands: explorer; works in a library: librarian;
rides horses: rider | jockey | equestrian; sails: sailor; climbs: climber; cleans: cleaner; speaks: speaker;
leads: leader; helps: helper; works: worker; reads: reader; wins: winner; loses: loser; plays: player;
thinks: thinker; dreams: dreamer; gardens: gardener
"""
OPPOSITES = """
hot: cold; big: small | little | tiny; tall: short; early: late; empty: full; rich: poor; dark: light | bright;
strong: weak; fast: slow; happy: sad | unhappy; old: young | new; good: bad | evil | poor; up: down; left: right;
open: closed | shut | close; wet: dry; hard: soft | easy; easy: difficult | hard; high: low; long: short;
short: long | tall; wide: narrow; thick: thin; heavy: light; loud: quiet | soft | silent; clean: dirty;
deep: shallow; near: far; inside: outside; above: below | beneath; before: after; first: last; always: never;
begin: end | finish; start: stop | end | finish; win: lose; buy: sell; give: take | receive; push: pull;
love: hate | hatred; laugh: cry; accept: reject | refuse | decline; arrive: depart | leave; attack: defend;
increase: decrease; expand: contract | shrink; enter: exit | leave; find: lose; remember: forget;
build: destroy | demolish; come: go; day: night; black: white; north: south; east: west; summer: winter; war: peace;
life: death; friend: enemy | foe; success: failure; victory: defeat; truth: lie | falsehood; beginning: end | ending;
top: bottom; front: back | rear; male: female; husband: wife; brother: sister; king: queen; uncle: aunt;
mother: father; son: daughter; hero: villain; teacher: student | pupil; ancient: modern;
cheap: expensive | costly | dear; cruel: kind | compassionate; brave: cowardly | timid | fearful; careful: careless;
guilty: innocent; public: private; noisy: quiet | silent; odd: even; permanent: temporary; polite: rude | impolite;
positive: negative; rough: smooth | gentle; safe: dangerous | unsafe; sharp: blunt | dull;
simple: complex | complicated; sweet: sour | bitter; tight: loose; true: false;
ugly: beautiful | pretty | attractive | handsome; urban: rural; useful: useless; vertical: horizontal;
visible: invisible; warm: cool | cold; wild: tame | domesticated; wise: foolish | unwise; possible: impossible;
legal: illegal; honest: dishonest; patient: impatient; fair: unfair | unjust; lucky: unlucky;
correct: incorrect | wrong; perfect: imperfect; regular: irregular; mature: immature; formal: informal | casual;
agree: disagree; appear: disappear; maximum: minimum; major: minor; majority: minority; optimist: pessimist;
interior: exterior; internal: external; import: export; include: exclude; ascend: descend; create: destroy;
borrow: lend; freeze: melt | thaw; hide: reveal | show | seek; raise: lower; rise: fall; awake: asleep; alive: dead;
absent: present; abundant: scarce | rare; artificial: natural; arrogant: humble | modest; generous: selfish | stingy;
gentle: rough | harsh; superior: inferior; transparent: opaque; voluntary: involuntary | compulsory | mandatory
"""
IRREGULAR_PLURALS = """
child: children; man: men; woman: women; foot: feet; tooth: teeth; goose: geese; mouse: mice; ox: oxen;
person: people | persons; leaf: leaves; wolf: wolves; knife: knives; wife: wives; life: lives; shelf: shelves;
half: halves; calf: calves; loaf: loaves; thief: thieves; elf: elves; potato: potatoes; tomato: tomatoes;
hero: heroes; echo: echoes; cactus: cacti | cactuses; crisis: crises; thesis: theses; analysis: analyses;
basis: bases; oasis: oases; phenomenon: phenomena; criterion: criteria; louse: lice; bacterium: bacteria;
nucleus: nuclei; fungus: fungi | funguses; stimulus: stimuli; radius: radii | radiuses; medium: media | mediums;
quiz: quizzes; policeman: policemen
"""
# With plurals in -s, -es or -ies.
NOUNS = """
book, city, box, dog, church, baby, bus, watch, lady, story, country, day, key, boy, dish, brush, fox, glass, class,
kiss, match, beach, party, family, army, body, cherry, berry, puppy, pony, fly, toy, monkey, donkey, piano, photo,
radio, video, window, garden, teacher, river, mountain, flower, house, horse, nurse, orange, page, bridge, cage,
prize, tree, shoe, car, table, chair, school, lamp, pen, bird, cat, apple, friend, song, star, ship, road, wall,
ring, king, clock, letter, number, island, village, forest, doctor, farmer, artist, student, wish, lunch, sandwich,
peach, bench, coach, tax, boss, address, princess, dress, eyelash, bush, penny, enemy, memory, factory, library,
diary, duty, hobby, lily, valley, tray
"""
IRREGULAR_PASTS = """
go: went; learn: learned | learnt; travel: traveled | travelled; sing: sang; write: wrote; eat: ate; teach: taught;
find: found; buy: bought; swim: swam; take: took; give: gave; come: came; see: saw; know: knew; grow: grew;
throw: threw; fly: flew; draw: drew; drink: drank; begin: began; ring: rang; run: ran; sit: sat; win: won; get: got;
forget: forgot; speak: spoke; break: broke; steal: stole; wake: woke; choose: chose; freeze: froze; drive: drove;
ride: rode; rise: rose; fall: fell; feel: felt; keep: kept; sleep: slept; leave: left; meet: met; lead: led;
feed: fed; tell: told; sell: sold; say: said; pay: paid; make: made; think: thought; bring: brought; catch: caught;
fight: fought; build: built; send: sent; spend: spent; lend: lent; lose: lost; hold: held; hear: heard; stand: stood;
understand: understood; wear: wore; tear: tore; hide: hid; bite: bit; shine: shone | shined; shoot: shot;
stick: stuck; dig: dug; swing: swung; blow: blew; become: became; do: did; have: had; shake: shook
"""
# With pasts in -d, -ed or -ied.
VERBS = """
jump, close, walk, play, look, help, call, ask, talk, wait, start, finish, open, work, paint, clean, wash, watch,
want, need, turn, show, move, live, love, hope, use, dance, smile, like, change, arrive, carry, try, cry, study,
marry, hurry, copy, worry, fry, enjoy, stay, visit, listen, answer, climb, laugh, push, pull, pass, miss, fix, mix,
reach, touch, cook, bake, invite, share, save, agree, decide, believe, receive, improve, imagine, explain, remember,
follow
"""
# Whose last letter is doubled before -ed.
DOUBLED_VERBS = """
stop, plan, drop, hug, chat, grab, clap, shop, beg, rub, step, trip, jog, slip, nod, hop, tap, pat
"""
